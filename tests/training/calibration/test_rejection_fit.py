"""The rejection rule, fitted on few photos."""

import numpy as np
import pytest

from training.calibration.rejection_fit import evaluate_rejection, fit_rejection


def features_around(centre: int, photos: int, seed: int) -> np.ndarray:
    """Features (photos, 32) that are large in 16 channels from `centre` on."""
    features = np.random.default_rng(seed).exponential(size=(photos, 32))
    features[:, centre : centre + 16] += 3
    return features.astype(np.float32)


@pytest.mark.parametrize("with_negatives", [True, False])
@pytest.mark.parametrize("held_out", [1, 4, 12, 19])
def test_the_threshold_of_a_rule_from_few_photos_keeps_new_flowers(held_out, with_negatives):
    negatives = features_around(16, 60, 1) if with_negatives else None
    synthetic = features_around(16, 20, 2)
    train, few = features_around(0, 48, 3), features_around(0, held_out, 4)
    rule = fit_rejection(train, few, negatives, synthetic)
    new, others = features_around(0, 500, 5), features_around(16, 500, 6)
    assert (rule.flower_probability(new) >= rule.threshold).mean() >= 0.85
    assert (rule.flower_probability(others) >= rule.threshold).mean() <= 0.1


def test_a_rule_from_few_photos_is_evaluated_on_all_held_out_photos():
    folds = np.array_split(features_around(0, 3, 0), 5)  # two folds are empty
    negatives = np.array_split(features_around(16, 60, 1), 5)
    metrics = evaluate_rejection(
        features_around(0, 48, 3), folds, negatives, features_around(16, 20, 2)
    )
    assert (metrics["flowers"], metrics["others"]) == (3, 60)
    assert metrics["auroc"] > 0.9
