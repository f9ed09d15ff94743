"""Fit the known-species rule to flowers of the labels and of other species."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from flower_model import FlowerClassifier
from flower_model.confidence import probabilities
from flower_model.errors import DataError, shorten
from flower_model.known_species import KnownSpecies, species_scores
from training.calibration.held_out import HeldOut, join, predict_held_out
from training.calibration.rejection_fit import FOLDS, auroc
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.negatives import other_flowers, species_folds
from training.recipe import Recipe
from training.reporting.provenance import round_metrics

KEPT = 0.95  # fraction of the labels' held-out flowers above the threshold
SURE = 0.8  # probability of a label from which a wrong answer is a confident one


def decode_other_flowers(folder: Path, short_side: int, recipe: Recipe) -> DecodedPhotos:
    """Decode the flowers of other species that the rule is fitted to.

    Args:
        folder: Their folder, with a folder for each species.
        short_side: As for `training.data.decoded.decode_photos`.
        recipe: The recipe of the run, which may have trained on half of the species.

    Raises:
        DataError: If there are readable photos of fewer than `FOLDS` species.
    """
    decoded = decode_photos(other_flowers(folder), short_side, "decoding")
    if recipe.data.other_flowers:  # the other half was trained on: see `load_other_flowers`
        decoded = decoded.subset(np.flatnonzero(species_folds(decoded.photos, 2) == 1))
    for sentence in decoded.skipped:
        print(f"skipped: {sentence}", file=sys.stderr)
    species = len({photo.label for photo in decoded.photos})
    if species < FOLDS:
        raise DataError(
            f"'{shorten(folder, 120)}' contains photos of {species} species. A known-species rule "
            f"requires at least {FOLDS}, each in a folder of its own: add some."
        )
    return decoded


def fit_rule(
    model: FlowerClassifier, held_out: Sequence[HeldOut], photos: DecodedPhotos, temperature: float
) -> tuple[KnownSpecies, dict[str, float]]:
    """Return the rule and its metrics, which are cross-validated by species.

    Args:
        model: The model.
        held_out: Its outputs on held-out flowers.
        photos: Flowers of other species, from `decode_other_flowers`.
        temperature: The model's temperature.
    """
    known = join(held_out)
    unknown = predict_held_out(model, photos, labelled=False)
    unknown = replace(unknown, fold=species_folds(photos.photos, FOLDS))
    metrics = evaluate_known_species(known, unknown, temperature)
    return fit_known_species(known.logits, unknown.logits, temperature), round_metrics(metrics)


def fit_known_species(known: np.ndarray, unknown: np.ndarray, temperature: float) -> KnownSpecies:
    """Fit a logistic regression to the scores, and a threshold that keeps 95 % of the known flowers.

    Args:
        known: (photos, classes) logits of held-out flowers of the labels.
        unknown: (photos, classes) logits of flowers of other species.
        temperature: The model's temperature.
    """
    scores = species_scores(np.concatenate([known, unknown]), temperature)
    targets = np.repeat([1, 0], [len(known), len(unknown)])
    spread = np.maximum(scores.std(axis=0), 1e-6)
    # Equal priors, however many photos of each kind there are.
    regression = LogisticRegression(class_weight="balanced").fit(scores / spread, targets)
    weights = tuple((regression.coef_[0] / spread).tolist())
    rule = KnownSpecies(weights, float(regression.intercept_[0]), 0.0)
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
    kept, accepted, confident, aurocs = [], [], [], []
    for fold in range(FOLDS):
        fit_known, fit_unknown = known.fold != fold, unknown.fold != fold
        rule = fit_known_species(known.logits[fit_known], unknown.logits[fit_unknown], temperature)
        ours = rule.probability(known.logits[~fit_known], temperature)
        others = rule.probability(unknown.logits[~fit_unknown], temperature)
        top = probabilities(unknown.logits[~fit_unknown], temperature).max(axis=1)
        kept.append(ours >= rule.threshold)
        accepted.append(others >= rule.threshold)
        confident.append(accepted[-1] & (top >= SURE))
        if len(ours) and len(others):
            aurocs.append(auroc(ours, others))
    return {
        "known": len(known.logits),
        "unknown": len(unknown.logits),
        "known_kept": float(np.concatenate(kept).mean()),
        "unknown_accepted": float(np.concatenate(accepted).mean()),
        "unknown_confident": float(np.concatenate(confident).mean()),
        "auroc": float(np.mean(aurocs)),
    }
