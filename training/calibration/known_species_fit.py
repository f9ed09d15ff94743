"""Fit the known-species rule to flowers of the labels and of other species."""

from dataclasses import replace

import numpy as np

from flower_model import FlowerClassifier
from flower_model.confidence import probabilities
from flower_model.known_species import KnownSpecies, species_scores
from training.calibration.held_out import HeldOut, predict_held_out
from training.calibration.rejection_fit import FOLDS, auroc, fit_log_odds
from training.data.decoded import DecodedPhotos
from training.data.outliers import species_folds
from training.reporting.provenance import round_metrics

KEPT = 0.95  # fraction of the labels' held-out flowers above the threshold
SURE = 0.8  # probability of a label from which a wrong answer is a confident one


def fit_rule(
    model: FlowerClassifier, known: HeldOut, photos: DecodedPhotos, temperature: float
) -> tuple[KnownSpecies, dict[str, float]]:
    """Return the rule and its metrics, which are cross-validated by species.

    Args:
        model: The model.
        known: Its outputs on held-out flowers.
        photos: Flowers of at least `FOLDS` other species.
        temperature: The model's temperature.
    """
    unknown = predict_held_out(model, photos, labelled=False)
    unknown = replace(unknown, fold=species_folds(photos.photos, FOLDS))
    metrics = evaluate_known_species(known, unknown, temperature)
    return fit_known_species(known.logits, unknown.logits, temperature), round_metrics(metrics)


def fit_known_species(known: np.ndarray, unknown: np.ndarray, temperature: float) -> KnownSpecies:
    """Fit a logistic regression to the scores, and a threshold that keeps 95 % of the known flowers.

    Both arrays are logits (photos, classes): of held-out flowers of the labels, and of other species.
    """
    scores = (species_scores(logits, temperature) for logits in (known, unknown))
    weights, intercept = fit_log_odds(*scores)
    rule = KnownSpecies(tuple(weights.tolist()), intercept, 0.0)
    threshold = float(np.quantile(rule.probability(known, temperature), 1 - KEPT))
    return replace(rule, threshold=threshold)


def evaluate_known_species(
    known: HeldOut, unknown: HeldOut, temperature: float
) -> dict[str, float]:
    """Evaluate the rule by cross-validation: each fold with a rule fitted to the other folds.

    Returns:
        known and unknown (numbers of photos), known_kept and unknown_accepted (fractions above the
        threshold), unknown_confident (accepted, with a label of at least 80 %) and auroc (mean over
        the folds).
    """
    kept, accepted = np.empty(len(known.logits), bool), np.empty(len(unknown.logits), bool)
    aurocs = []
    for fold in range(FOLDS):
        fit_known, fit_unknown = known.fold != fold, unknown.fold != fold
        rule = fit_known_species(known.logits[fit_known], unknown.logits[fit_unknown], temperature)
        ours = rule.probability(known.logits[~fit_known], temperature)
        others = rule.probability(unknown.logits[~fit_unknown], temperature)
        kept[~fit_known] = ours >= rule.threshold
        accepted[~fit_unknown] = others >= rule.threshold
        if len(ours) and len(others):
            aurocs.append(auroc(ours, others))
    sure = probabilities(unknown.logits, temperature).max(axis=1) >= SURE
    return {
        "known": len(kept),
        "unknown": len(accepted),
        "known_kept": float(kept.mean()),
        "unknown_accepted": float(accepted.mean()),
        "unknown_confident": float((accepted & sure).mean()),
        "auroc": float(np.mean(aurocs)),
    }
