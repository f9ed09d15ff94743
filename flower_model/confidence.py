"""Calibrated probabilities from logits, and measures of calibration (Guo et al. 2017)."""

import numpy as np

BINS = 15  # of the confidence, for calibration error and reliability diagram


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return class probabilities, the softmax of the logits divided by a temperature.

    Args:
        logits: (photos, classes) float.
        temperature: > 0; values above 1 lower the confidence, values below 1 raise it.

    Returns:
        (photos, classes) float64 in [0, 1]; every row sums to 1.
    """
    probs: np.ndarray = np.exp(log_probabilities(logits, temperature))
    return probs


def log_loss(logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood in nats.

    Args:
        logits: (photos, classes) float.
        targets: (photos,) int class indices.
        temperature: > 0.
    """
    log_p = log_probabilities(logits, temperature)
    return max(0.0, float(-log_p[np.arange(len(targets)), targets].mean()))  # avoids -0.0


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature that minimises the log loss (Guo et al. 2017).

    The targets are smoothed as in Platt (1999), as if one more of n photos were misclassified.
    Otherwise the temperature of photos without any error would go to 0.

    Args:
        logits: (photos, classes) of held-out photos.
        targets: (photos,) int class indices.

    Returns:
        A temperature in [0.05, 20].
    """
    from scipy.optimize import minimize_scalar  # slow, and only training needs it

    photos, classes = logits.shape
    weights = np.full((photos, classes), 1 / (photos + 2) / max(1, classes - 1))
    weights[np.arange(photos), targets] = (photos + 1) / (photos + 2)
    result = minimize_scalar(
        lambda log_t: -(weights * log_probabilities(logits, float(np.exp(log_t)))).sum(),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(result.x))


def calibration_error(probs: np.ndarray, targets: np.ndarray) -> float:
    """Return the expected calibration error of the top label (Guo et al. 2017), in [0, 1].

    Args:
        probs: (photos, classes) probabilities.
        targets: (photos,) int class indices.
    """
    correct = probs.argmax(axis=1) == targets
    gaps = np.bincount(confidence_bins(probs), weights=correct - probs.max(axis=1))
    return float(np.abs(gaps).sum() / len(targets))


def confidence_bins(probs: np.ndarray) -> np.ndarray:
    """Return the equal-width bin (photos,), 0 to `BINS` - 1, of each top label's probability.

    Args:
        probs: (photos, classes) probabilities.
    """
    bins: np.ndarray = np.minimum((probs.max(axis=1) * BINS).astype(int), BINS - 1)
    return bins


def log_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = np.asarray(logits, dtype=np.float64) / temperature  # (photos, classes)
    scaled -= scaled.max(axis=1, keepdims=True)  # prevents overflow in exp
    scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return scaled


def logistic(log_odds: np.ndarray) -> np.ndarray:
    """Return the probabilities, in [0, 1], of log odds of any size, without overflow."""
    return 0.5 * (1 + np.tanh(log_odds / 2))
