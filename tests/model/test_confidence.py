"""Probabilities, the temperature that makes them honest, and the figures that say how honest."""

import numpy as np
import pytest

from flower_model.confidence import calibration_error, fit_temperature, log_loss, probabilities
from training.reporting.metrics import measure


def test_probabilities_sum_to_one_and_a_higher_temperature_is_less_sure():
    logits = np.array([[3.0, 1.0, 0.0]])
    cold, warm = probabilities(logits, 0.5), probabilities(logits, 2.0)
    assert cold.sum() == pytest.approx(1) and warm.sum() == pytest.approx(1)
    assert cold[0, 0] > probabilities(logits)[0, 0] > warm[0, 0]


def test_the_fitted_temperature_undoes_an_overconfident_scale():
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 5)) * 2
    cumulative = probabilities(honest).cumsum(axis=1)
    targets = (cumulative > rng.random((4000, 1))).argmax(axis=1)  # drawn as the logits say
    assert fit_temperature(honest * 3, targets) == pytest.approx(3, rel=0.1)
    assert log_loss(honest * 3, targets, 3.0) < log_loss(honest * 3, targets)
    before = calibration_error(probabilities(honest * 3), targets)
    after = calibration_error(probabilities(honest * 3, 3.0), targets)
    assert before > 0.1
    assert after < 0.03


def test_calibration_error_of_known_confidences():
    probs = np.array([[0.9, 0.1]] * 10)
    targets = np.array([0] * 6 + [1] * 4)  # 60 % right at 90 % confidence
    assert calibration_error(probs, targets) == pytest.approx(0.3)


def test_mean_per_class_counts_a_rare_class_as_much_as_a_common_one():
    logits = np.eye(6)[[0] * 9 + [0]]  # always says class 0
    targets = np.array([0] * 9 + [1])
    result = measure(logits, targets)
    assert result["top1"] == pytest.approx(0.9)
    assert result["mean_per_class"] == pytest.approx(0.5)
    assert result["top5"] >= result["top1"]
