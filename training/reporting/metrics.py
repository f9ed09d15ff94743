"""The figures that describe a classifier on labelled photos."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from flower_model.confidence import calibration_error, log_loss, probabilities

BINS = 15  # equally wide bins of confidence, as in `calibration_error`


def measure(logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0) -> dict[str, float]:
    """Accuracy and calibration.

    Args:
        logits: (photos, classes) float, before division by the temperature.
        targets: (photos,) int class indices.
        temperature: > 0.

    Returns:
        top1, top5 and mean_per_class (accuracy averaged over the classes that occur), all in
        [0, 1]; log_loss in nats; calibration_error (15 bins) in [0, 1].
    """
    probs = probabilities(logits, temperature)
    best = np.argsort(-logits, axis=1)[:, :5]  # (photos, 5)
    hits = best == targets[:, None]
    return {
        "top1": float(hits[:, 0].mean()),
        "top5": float(hits.any(axis=1).mean()),
        "mean_per_class": float(_mean_per_class(hits[:, 0], targets)),
        "log_loss": log_loss(logits, targets, temperature),
        "calibration_error": calibration_error(probs, targets),
    }


def per_class(
    answers: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """How well each class is told, for the classes that occur.

    Args:
        answers, targets: (photos,) int class indices.
        labels: Class names in the order of the classes.

    Returns:
        Class name -> photos (their number), recall (the share of them that was named) and precision
        (how often the name was right where it was given; 0 where it never was), in [0, 1].
    """
    classes = np.unique(targets)
    precision, recall, _, photos = precision_recall_fscore_support(
        targets, answers, labels=classes, zero_division=0.0
    )
    rows = zip(classes, photos, recall, precision, strict=True)
    return {
        labels[c]: {"photos": int(n), "recall": round(float(r), 4), "precision": round(float(p), 4)}
        for c, n, r, p in rows
    }


def reliability(probs: np.ndarray, targets: np.ndarray, bins: int = 15) -> list[dict[str, float]]:
    """What a reliability plot draws: how often answers of about the same confidence were right.

    Args:
        probs: (photos, classes) probabilities.
        targets: (photos,) int class indices.
        bins: Number of equally wide bins of confidence, as in `calibration_error`.

    Returns:
        For every bin with photos in it: confidence (mean), accuracy and photos (their number).
    """
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == targets
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[bin_of == b].mean()),
            "accuracy": float(correct[bin_of == b].mean()),
            "photos": int((bin_of == b).sum()),
        }
        for b in np.unique(bin_of)
    ]


def calibration_error_by_chance(
    probs: np.ndarray, bins: int = 15, repeats: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The calibration error that chance alone shows, were these probabilities exactly right.

    The fewer photos, the larger: a bin's accuracy strays from its confidence by the luck of the
    draw, and the error counts every straying.

    Args:
        probs: (photos, classes) probabilities.
        bins: As in `calibration_error`.
        repeats: How often outcomes are drawn from them.
        seed: Of the draws.

    Returns:
        The mean, and the value that 95 % of the draws stay below; both in [0, 1].
    """
    rng = np.random.default_rng(seed)
    confidence = probs.max(axis=1)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    correct = rng.random((repeats, len(probs))) < confidence  # (repeats, photos)
    gaps = (correct - confidence) @ np.eye(bins)[bin_of]  # (repeats, bins)
    errors = np.abs(gaps).sum(axis=1) / len(probs)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def confidence_bins(probs: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the bin (photos,), 0 to `bins` - 1, of the best answer's probability."""
    return np.minimum((probs.max(axis=1) * bins).astype(int), bins - 1)


def _mean_per_class(correct: np.ndarray, targets: np.ndarray) -> float:
    return float(np.mean([correct[targets == c].mean() for c in np.unique(targets)]))
