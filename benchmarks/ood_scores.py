"""Out-of-distribution scores that are fitted on training photos alone, for `benchmarks.rejection`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf

from flower_model.rejection import l2_normalise

NEIGHBOURS = 10


class Outputs(NamedTuple):
    """Features and logits of photos and, for flowers, their class indices."""

    features: np.ndarray
    logits: np.ndarray
    targets: np.ndarray

    def take(self, index: np.ndarray) -> "Outputs":
        targets = self.targets[index] if len(self.targets) else self.targets
        return Outputs(self.features[index], self.logits[index], targets)


Score = Callable[[np.ndarray, np.ndarray], np.ndarray]  # features and logits -> (photos,)


def fit_on_flowers(train: Outputs) -> dict[str, Score]:
    """Fit the methods that need only training photos."""
    classes = np.unique(train.targets)
    means = np.stack([train.features[train.targets == c].mean(axis=0) for c in classes])
    offsets = train.features - means[np.searchsorted(classes, train.targets)]
    values, vectors = np.linalg.eigh(LedoitWolf().fit(offsets).covariance_)
    whiten = (vectors / np.sqrt(values)).astype(np.float32)  # (channels, channels)
    white_means = means @ whiten

    def mahalanobis(features: np.ndarray, _: np.ndarray) -> np.ndarray:
        white = features @ whiten
        squares = (white**2).sum(axis=1)[:, None] + (white_means**2).sum(axis=1)
        return -(squares - 2 * white @ white_means.T).min(axis=1)

    bank = l2_normalise(train.features)

    def neighbours(features: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.partition(l2_normalise(features) @ bank.T, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS]

    origin = train.features.mean(axis=0)
    principal = np.linalg.eigh(np.cov((train.features - origin).T))[1].astype(np.float32)
    rest = principal[:, : -min(512, principal.shape[1] // 2)]  # (channels, remaining channels)
    outside = np.linalg.norm((train.features - origin) @ rest, axis=1).mean()
    alpha = train.logits.max(axis=1).mean() / outside

    def vim(features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        norm = np.linalg.norm((features - origin) @ rest, axis=1)
        return logsumexp(logits, axis=1) - alpha * norm

    return {
        "maximum softmax": lambda _, logits: softmax(logits, axis=1).max(axis=1),
        "energy": lambda _, logits: logsumexp(logits, axis=1),
        "Mahalanobis": mahalanobis,
        f"nearest neighbours (k = {NEIGHBOURS})": neighbours,
        "ViM": vim,
    }
