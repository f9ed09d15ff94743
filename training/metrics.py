"""The figures that describe a classifier on labelled photos."""

import numpy as np

from flower_model.confidence import calibration_error, log_loss, probabilities


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


def _mean_per_class(correct: np.ndarray, targets: np.ndarray) -> float:
    return float(np.mean([correct[targets == c].mean() for c in np.unique(targets)]))
