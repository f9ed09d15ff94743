"""Fits the rule that says whether there is a flower at all, and measures it on photos it never saw.

benchmarks/rejection.py compares its two methods with others.
"""

from collections.abc import Sequence

import numpy as np
from joblib import Parallel, delayed
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import KFold
from sklearn.svm import SVC

from flower_model.rejection import (
    Rejection,
    Residual,
    SupportVectors,
    l2_normalise,
    power_normalise,
)

KEPT = 0.98  # share of unseen photos labelled as flowers that the threshold keeps
FOLDS = 5
DIMENSIONS = 256  # of the subspace that flowers fill


def fit_rejection(
    trained: np.ndarray, held_out: np.ndarray, others: np.ndarray | None, made: np.ndarray
) -> Rejection:
    """The rule, its threshold from flowers that it has not seen.

    Args:
        trained: (photos, channels) features of flowers that the network was trained on.
        held_out: (photos, channels) of flowers that it was not, at least `FOLDS`.
        others: (photos, channels) of photos without a flower, at least `FOLDS`; None: there are none.
        made: (pictures, channels) of pictures without a flower that are no photos of anything.
    """
    if others is None:
        subspace = fit_residual(trained)  # to which all held-out flowers are new
        edge, middle = np.quantile(subspace.score(held_out), [1 - KEPT, 0.5])
        slope = float(np.log(99) / max(middle - edge, 1e-6))  # odds of 1 at the edge, of 99 there
        return Rejection(subspace, slope, float(-slope * edge), 0.5)
    flower_scores, other_scores = np.empty(len(held_out)), np.empty(len(others))
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    for (fit, unseen), (fit_others, unseen_others) in zip(
        folds.split(held_out), folds.split(others), strict=True
    ):
        machine = fit_support_vectors(
            np.concatenate([trained, held_out[fit]]), np.concatenate([others[fit_others], made])
        )
        flower_scores[unseen] = machine.score(held_out[unseen])
        other_scores[unseen_others] = machine.score(others[unseen_others])
    slope, intercept = _log_odds(flower_scores, other_scores)
    edge = slope * np.quantile(flower_scores, 1 - KEPT) + intercept
    machine = fit_support_vectors(
        np.concatenate([trained, held_out]), np.concatenate([others, made])
    )
    return Rejection(machine, slope, intercept, float(0.5 * (1 + np.tanh(edge / 2))))


def measure_rejection(
    trained: np.ndarray,
    held_out: Sequence[np.ndarray],
    others: Sequence[np.ndarray] | None,
    made: np.ndarray,
) -> dict[str, float]:
    """How good the rule is: each fold of the photos judged by a rule that the other folds fitted.

    Args:
        trained, made: As for `fit_rejection`.
        held_out, others: What `fit_rejection` takes, in as many folds of photos.

    Returns:
        flowers and others (their numbers), flowers_kept and others_let_through (shares), and auroc
        (mean of the folds); without others only what there is of these.
    """

    def fit_without(unseen: int) -> Rejection:
        fit_others = _all_but(others, unseen) if others else None
        return fit_rejection(trained, _all_but(held_out, unseen), fit_others, made)

    # Threads, for a support vector machine is fitted on one core and without Python's lock.
    rules = Parallel(-1, prefer="threads")(map(delayed(fit_without), range(len(held_out))))
    kept, let_through, aurocs = [], [], []
    for unseen, rule in enumerate(rules):
        kept.append(rule.flower_probability(held_out[unseen]) >= rule.threshold)
        if others:
            let_through.append(rule.flower_probability(others[unseen]) >= rule.threshold)
            scores = (rule.method.score(part[unseen]) for part in (held_out, others))
            aurocs.append(auroc(*scores))
    figures = {"flowers": sum(map(len, kept)), "flowers_kept": float(np.concatenate(kept).mean())}
    if others:
        figures["others"] = sum(map(len, let_through))
        figures["others_let_through"] = float(np.concatenate(let_through).mean())
        figures["auroc"] = float(np.mean(aurocs))
    return figures


def fit_support_vectors(flowers: np.ndarray, others: np.ndarray) -> SupportVectors:
    """A support vector machine on power-normalised features; its offset is left to the scale.

    Args:
        flowers, others: (photos, channels) features.
    """
    inputs = power_normalise(np.concatenate([flowers, others])).astype(np.float64)
    targets = np.repeat([1, 0], [len(flowers), len(others)])
    # Half of scikit-learn's own choice: as good, with a third fewer vectors to compare with.
    gamma = 0.5 / (inputs.shape[1] * inputs.var())
    # The kernel as one matrix product: left to libsvm, it takes three times as long.
    machine = SVC(C=10, kernel="precomputed", class_weight="balanced")
    machine.fit(rbf_kernel(inputs, gamma=gamma), targets)
    return SupportVectors(
        inputs[machine.support_].astype(np.float32),
        machine.dual_coef_[0].astype(np.float32),
        np.array([gamma], np.float32),
    )


def fit_residual(flowers: np.ndarray) -> Residual:
    """The subspace that holds most of the flowers' variance.

    Args:
        flowers: (photos, channels) features.
    """
    inputs = l2_normalise(flowers)
    dimensions = max(1, min(DIMENSIONS, len(inputs) // 4, inputs.shape[1] // 4))
    pca = PCA(dimensions, random_state=0).fit(inputs)
    return Residual(pca.components_.T.astype(np.float32), pca.mean_.astype(np.float32))


def auroc(flowers: np.ndarray, others: np.ndarray) -> float:
    """How often a flower's score (photos,) is above another photo's (photos,), in [0, 1]."""
    truth = np.repeat([1, 0], [len(flowers), len(others)])
    return float(roc_auc_score(truth, np.concatenate([flowers, others])))


def _all_but(folds: Sequence[np.ndarray], left_out: int) -> np.ndarray:
    return np.concatenate([fold for index, fold in enumerate(folds) if index != left_out])


def _log_odds(flower_scores: np.ndarray, other_scores: np.ndarray) -> tuple[float, float]:
    """Slope and intercept that turn unseen photos' scores into log odds (Platt 1999)."""
    scores = np.concatenate([flower_scores, other_scores])[:, None]
    spread = float(scores.std()) or 1.0
    targets = np.repeat([1, 0], [len(flower_scores), len(other_scores)])
    # Balanced: both sides count the same, however many photos of each there are.
    regression = LogisticRegression(class_weight="balanced").fit(scores / spread, targets)
    return float(regression.coef_[0, 0]) / spread, float(regression.intercept_[0])
