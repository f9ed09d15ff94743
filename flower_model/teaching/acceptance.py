"""The rejection rule of a taught model, which must not call the taught flower "no flower"."""

from dataclasses import replace

import numpy as np

from flower_model.rejection import (
    Rejection,
    Residual,
    SupportVectors,
    l2_normalise,
    power_normalise,
)


def accept_flower(rule: Rejection, photos: np.ndarray) -> Rejection:
    """Extend a rejection rule by photos of a flower, without its training photos.

    A support vector machine gets the photos as further support vectors, with the least weight at
    which each would be accepted because of the others. A flower subspace is extended until
    it contains the photos. Slope, intercept and threshold stay.

    Args:
        rule: The rule.
        photos: (photos, channels) features of the flower.
    """
    if isinstance(rule.method, SupportVectors):
        return replace(rule, method=_with_vectors(rule, rule.method, photos))
    return replace(rule, method=_with_directions(rule.method, photos))


MAX_WEIGHT = 10.0  # of a support vector; the penalty C that bounds it in training


def _with_vectors(rule: Rejection, machine: SupportVectors, photos: np.ndarray) -> SupportVectors:
    vectors, ones = power_normalise(photos), np.ones(len(photos), np.float32)
    threshold = np.clip(rule.threshold, 1e-9, 1 - 1e-9)
    edge = (np.log(threshold / (1 - threshold)) - rule.intercept) / rule.slope  # in scores
    missing = np.maximum(edge - machine.score(photos), 0)  # (photos,)
    if not missing.any():
        return machine
    support = SupportVectors(vectors, ones, machine.gamma).score(photos)
    if len(photos) > 1:  # a single photo supports itself
        support -= 1
    needed = np.divide(missing, support, out=np.full(len(photos), np.inf), where=support > 0)
    weight = min(float(needed.max()), MAX_WEIGHT)
    return SupportVectors(
        np.concatenate([machine.vectors, vectors]),
        np.concatenate([machine.weights, weight * ones]),
        machine.gamma,
    )


def _with_directions(subspace: Residual, photos: np.ndarray) -> Residual:
    offset = l2_normalise(photos) - subspace.mean
    outside = offset - (offset @ subspace.basis) @ subspace.basis.T
    _, lengths, directions = np.linalg.svd(outside, full_matrices=False)
    new = directions[lengths > 1e-4]
    return Residual(np.hstack([subspace.basis, new.T]).astype(np.float32), subspace.mean)
