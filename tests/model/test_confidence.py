"""Temperature scaling, calibration error and accuracy metrics."""

import numpy as np
import pytest

from flower_model.confidence import calibration_error, fit_temperature, log_loss, probabilities
from training.reporting.metrics import compute_metrics


def test_higher_temperature_lowers_the_confidence():
    logits = np.array([[3.0, 1.0, 0.0]])
    cold, warm = probabilities(logits, 0.5), probabilities(logits, 2.0)
    assert cold.sum() == pytest.approx(1) and warm.sum() == pytest.approx(1)
    assert cold[0, 0] > probabilities(logits)[0, 0] > warm[0, 0]


def test_fitted_temperature_corrects_overconfident_logits():
    rng = np.random.default_rng(0)
    calibrated = rng.normal(size=(4000, 5)) * 2
    cumulative = probabilities(calibrated).cumsum(axis=1)
    targets = (cumulative > rng.random((4000, 1))).argmax(axis=1)  # sampled from the probabilities
    assert fit_temperature(calibrated * 3, targets) == pytest.approx(3, rel=0.1)
    assert log_loss(calibrated * 3, targets, 3.0) < log_loss(calibrated * 3, targets)
    before = calibration_error(probabilities(calibrated * 3), targets)
    after = calibration_error(probabilities(calibrated * 3, 3.0), targets)
    assert before > 0.1
    assert after < 0.03


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    probs = np.array([[0.9, 0.1]] * 10)
    targets = np.array([0] * 6 + [1] * 4)  # 60 % accuracy at 90 % confidence
    assert calibration_error(probs, targets) == pytest.approx(0.3)


def test_mean_per_class_weights_classes_equally():
    logits = np.eye(6)[[0] * 9 + [0]]  # always predicts class 0
    targets = np.array([0] * 9 + [1])
    result = compute_metrics(logits, targets)
    assert result["top1"] == pytest.approx(0.9)
    assert result["mean_per_class"] == pytest.approx(0.5)
    assert result["top5"] >= result["top1"]
