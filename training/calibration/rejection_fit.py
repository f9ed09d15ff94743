"""Fit the rejection rule and evaluate it by cross-validation.

`benchmarks.rejection` compares its two methods with others.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import KFold
from sklearn.svm import SVC

from flower_model.confidence import logistic
from flower_model.rejection import (
    Rejection,
    Residual,
    SupportVectors,
    l2_normalise,
    power_normalise,
)
from flower_model.system.cores import usable_cores

KEPT = 0.98  # fraction of held-out flowers above the threshold
MIN_HELD_OUT = 20  # held-out flowers from which alone the threshold is set
FOLDS = 5
DIMENSIONS = 256  # maximum dimension of the flowers' principal subspace


def fit_rejection(
    train: np.ndarray, held_out: np.ndarray, negatives: np.ndarray | None, synthetic: np.ndarray
) -> Rejection:
    """Fit the rule and set its threshold from flowers that the rule was not fitted on.

    Fewer than `MIN_HELD_OUT` held-out flowers don't determine a threshold that keeps 98 %. The
    threshold then comes from all flowers, each scored by a rule that was fitted without it.

    Args:
        train: (photos, channels) features of flowers that the network was trained on.
        held_out: (photos, channels) of flowers that it was not trained on.
        negatives: (photos, channels) of non-flower photos, at least `FOLDS`; None without any.
        synthetic: (pictures, channels) of drawn non-flower pictures.
    """
    if len(held_out) < MIN_HELD_OUT:
        train, held_out = train[:0], np.concatenate([held_out, train])
    flowers = np.concatenate([train, held_out])
    if negatives is None:
        scores = _residual_scores(train, held_out)
        edge, middle = np.quantile(scores, [1 - KEPT, 0.5])
        slope = float(np.log(99) / max(middle - edge, 1e-6))  # odds of 1 at the edge, of 99 there
        subspace = fit_residual(train if len(train) else flowers)
        return Rejection(subspace, slope, float(-slope * edge), 0.5)
    flower_scores, negative_scores = np.empty(len(held_out)), np.empty(len(negatives))
    for (fit, unseen), (fit_negatives, unseen_negatives) in zip(
        _splits(held_out), _splits(negatives), strict=True
    ):
        machine = fit_support_vectors(
            np.concatenate([train, held_out[fit]]),
            np.concatenate([negatives[fit_negatives], synthetic]),
        )
        flower_scores[unseen] = machine.score(held_out[unseen])
        negative_scores[unseen_negatives] = machine.score(negatives[unseen_negatives])
    slopes, intercept = fit_log_odds(flower_scores[:, None], negative_scores[:, None])
    slope = float(slopes[0])
    edge = slope * np.quantile(flower_scores, 1 - KEPT) + intercept
    machine = fit_support_vectors(flowers, np.concatenate([negatives, synthetic]))
    return Rejection(machine, slope, intercept, float(logistic(np.array(edge))))


def evaluate_rejection(
    train: np.ndarray,
    held_out: Sequence[np.ndarray],
    negatives: Sequence[np.ndarray] | None,
    synthetic: np.ndarray,
) -> dict[str, float]:
    """Evaluate the rule by cross-validation: each fold with a rule fitted on the other folds.

    Args:
        train, synthetic: As for `fit_rejection`.
        held_out, negatives: The arrays of `fit_rejection`, split into folds.

    Returns:
        flowers and others (numbers of photos), flowers_kept and others_let_through (fractions
        above the threshold) and auroc (mean over the folds); without negatives, only those of
        the flowers.
    """

    def fit_without(unseen: int) -> Rejection:
        fit_negatives = _all_but(negatives, unseen) if negatives else None
        return fit_rejection(train, _all_but(held_out, unseen), fit_negatives, synthetic)

    # Threads: an SVM is fitted on one core, without Python's global lock.
    with ThreadPoolExecutor(usable_cores()) as pool:
        rules = list(pool.map(fit_without, range(len(held_out))))
    kept, accepted, aurocs = [], [], []
    for unseen, rule in enumerate(rules):
        kept.append(rule.flower_probability(held_out[unseen]) >= rule.threshold)
        if negatives:
            accepted.append(rule.flower_probability(negatives[unseen]) >= rule.threshold)
        if negatives and len(held_out[unseen]):  # with few photos, a fold may be empty
            scores = (rule.method.score(part[unseen]) for part in (held_out, negatives))
            aurocs.append(auroc(*scores))
    metrics = {"flowers": sum(map(len, kept)), "flowers_kept": float(np.concatenate(kept).mean())}
    if negatives:
        metrics["others"] = sum(map(len, accepted))
        metrics["others_let_through"] = float(np.concatenate(accepted).mean())
        metrics["auroc"] = float(np.mean(aurocs))
    return metrics


def fit_support_vectors(flowers: np.ndarray, negatives: np.ndarray) -> SupportVectors:
    """Fit an SVM to power-normalised features (photos, channels); Platt scaling replaces its offset."""
    inputs = power_normalise(np.concatenate([flowers, negatives])).astype(np.float64)
    targets = np.repeat([1, 0], [len(flowers), len(negatives)])
    # Half of scikit-learn's default: as accurate, with a third fewer support vectors.
    gamma = 0.5 / (inputs.shape[1] * inputs.var())
    # A precomputed kernel is one matrix product; libsvm's own takes three times as long.
    machine = SVC(C=10, kernel="precomputed", class_weight="balanced")
    machine.fit(rbf_kernel(inputs, gamma=gamma), targets)
    return SupportVectors(
        inputs[machine.support_].astype(np.float32),
        machine.dual_coef_[0].astype(np.float32),
        np.array([gamma], np.float32),
    )


def fit_residual(flowers: np.ndarray) -> Residual:
    """Fit the principal subspace of flower features (photos, channels)."""
    inputs = l2_normalise(flowers)
    dimensions = max(1, min(DIMENSIONS, len(inputs) // 4, inputs.shape[1] // 4))
    pca = PCA(dimensions, random_state=0).fit(inputs)
    return Residual(pca.components_.T.astype(np.float32), pca.mean_.astype(np.float32))


def fit_log_odds(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit log odds that are linear in scores (photos, scores), for equal priors (Platt 1999).

    Returns:
        Weights (scores,) and the intercept.
    """
    scores = np.concatenate([positive, negative])
    spread = np.maximum(scores.std(axis=0), 1e-6)
    targets = np.repeat([1, 0], [len(positive), len(negative)])
    regression = LogisticRegression(class_weight="balanced").fit(scores / spread, targets)
    return regression.coef_[0] / spread, float(regression.intercept_[0])


def auroc(flowers: np.ndarray, negatives: np.ndarray) -> float:
    """Return the area under the ROC curve of scores (photos,), higher for flowers, in [0, 1]."""
    truth = np.repeat([1, 0], [len(flowers), len(negatives)])
    return float(roc_auc_score(truth, np.concatenate([flowers, negatives])))


def _splits(features: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    return KFold(FOLDS, shuffle=True, random_state=0).split(features)


def _residual_scores(train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return the scores (photos,) of held-out flowers, cross-validated if there are no others."""
    if len(train):
        return fit_residual(train).score(held_out)
    scores = np.empty(len(held_out))
    for fit, unseen in _splits(held_out):
        scores[unseen] = fit_residual(held_out[fit]).score(held_out[unseen])
    return scores


def _all_but(folds: Sequence[np.ndarray], left_out: int) -> np.ndarray:
    return np.concatenate([fold for index, fold in enumerate(folds) if index != left_out])
