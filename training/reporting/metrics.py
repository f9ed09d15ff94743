"""Accuracy and calibration metrics of a classifier on labelled photos."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from flower_model.confidence import (
    BINS,
    calibration_error,
    confidence_bins,
    log_loss,
    probabilities,
)


def compute_metrics(
    logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0
) -> dict[str, float]:
    """Compute accuracy and calibration metrics.

    Args:
        logits: (photos, classes) float, before division by the temperature.
        targets: (photos,) int class indices.
        temperature: > 0.

    Returns:
        top1, top5 and mean_per_class (top-1 accuracy averaged over the classes that occur), all
        in [0, 1]; log_loss in nats; calibration_error (15 bins) in [0, 1].
    """
    probs = probabilities(logits, temperature)
    best = np.argsort(-logits, axis=1)[:, :5]  # (photos, 5)
    hits = best == targets[:, None]
    return {
        "top1": float(hits[:, 0].mean()),
        "top5": float(hits.any(axis=1).mean()),
        "mean_per_class": float(
            np.mean([hits[targets == c, 0].mean() for c in np.unique(targets)])
        ),
        "log_loss": log_loss(logits, targets, temperature),
        "calibration_error": calibration_error(probs, targets),
    }


def per_class(
    predicted: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Compute recall and precision of each class that occurs, and what it is taken for.

    Args:
        predicted, targets: (photos,) int class indices.
        labels: Class names in the order of the classes.

    Returns:
        Class name -> photos (their number), recall and precision in [0, 1], the precision of a class
        that is never predicted being 0; and taken_for, wrong class name -> number of photos.
    """
    classes = np.unique(targets)
    precision, recall, _, photos = precision_recall_fscore_support(
        targets, predicted, labels=classes, zero_division=0.0
    )
    rows = zip(classes, photos, recall, precision, strict=True)
    return {
        labels[c]: {
            "photos": int(n),
            "recall": round(float(r), 4),
            "precision": round(float(p), 4),
            "taken_for": {
                labels[other]: count
                for other, count in Counter(predicted[targets == c].tolist()).most_common()
                if other != c
            },
        }
        for c, n, r, p in rows
    }


def reliability(probs: np.ndarray, targets: np.ndarray) -> list[dict[str, float]]:
    """Return the points of a reliability diagram of probabilities (photos, classes) and class indices.

    Returns:
        For every non-empty bin: mean confidence, accuracy and number of photos.
    """
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == targets
    bins = confidence_bins(probs)
    return [
        {
            "confidence": float(confidence[bins == b].mean()),
            "accuracy": float(correct[bins == b].mean()),
            "photos": int((bins == b).sum()),
        }
        for b in np.unique(bins)
    ]


def calibration_error_by_chance(probs: np.ndarray) -> tuple[float, float]:
    """Return the calibration error that a perfectly calibrated model shows by chance.

    The accuracy of a finite sample differs from its confidence, and the error sums the absolute
    differences of all bins, so it is positive even if every probability is exact. A thousand samples are
    simulated, with outcomes drawn from the probabilities (photos, classes).

    Returns:
        The mean and the 95th percentile, both in [0, 1].
    """
    rng = np.random.default_rng(0)
    confidence = probs.max(axis=1)
    bins = confidence_bins(probs)

    def simulate() -> float:
        gaps = (rng.random(len(probs)) < confidence) - confidence
        return float(np.abs(np.bincount(bins, gaps, BINS)).sum() / len(probs))

    errors = np.array([simulate() for _ in range(1000)])
    return float(errors.mean()), float(np.quantile(errors, 0.95))
