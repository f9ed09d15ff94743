"""The rejection rule of a taught model accepts the taught flower and hardly anything else."""

import tracemalloc

import numpy as np
import pytest

from flower_model.rejection import Rejection, SupportVectors
from flower_model.teaching.acceptance import accept_flower
from training.calibration.rejection_fit import fit_rejection

RNG = np.random.default_rng(0)
CENTRES = {name: RNG.gamma(0.3, size=64) for name in ("flower", "negative", "taught")}


def features(kind: str, count: int, seed: int) -> np.ndarray:
    """Non-negative features of photos of a kind, around its centre."""
    noise = np.random.default_rng(seed).gamma(0.3, size=(count, 64))
    return (CENTRES[kind] + 0.5 * noise).astype(np.float32)


@pytest.fixture(scope="module", params=["support vectors", "residual"])
def rule(request) -> Rejection:
    """A rule fitted to flowers, with or without negatives, that knows nothing of the taught flower."""
    negatives = features("negative", 60, 1) if request.param == "support vectors" else None
    flowers = [features("flower", 60, seed) for seed in (2, 3)]
    return fit_rejection(*flowers, negatives, features("negative", 10, 4))


def accepted(rule: Rejection, photos: np.ndarray) -> float:
    return float((rule.flower_probability(photos) >= rule.threshold).mean())


def test_taught_flower_is_rejected_before_and_accepted_after(rule):
    others = features("taught", 50, 5)
    assert accepted(rule, others) < 0.5
    extended = accept_flower(rule, features("taught", 10, 6))
    assert accepted(extended, others) > max(0.6, accepted(rule, others) + 0.3)


@pytest.mark.parametrize("count", [1, 10])
def test_negatives_stay_rejected_and_flowers_accepted(rule, count):
    extended = accept_flower(rule, features("taught", count, 6))
    negatives, flowers = features("negative", 100, 7), features("flower", 100, 7)
    assert accepted(extended, negatives) <= accepted(rule, negatives) + 0.02
    assert accepted(extended, flowers) >= accepted(rule, flowers) - 0.02


def test_a_rule_that_accepts_the_flower_already_stays_as_it_is():
    flowers = [features("flower", 60, seed) for seed in (2, 3)]
    rule = fit_rejection(*flowers, features("negative", 60, 1), features("negative", 10, 4))
    known = flowers[1][rule.flower_probability(flowers[1]) >= rule.threshold]
    assert accept_flower(rule, known[:5]).method is rule.method


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_photos_leave_the_rule_finite(rule, count):
    extended = accept_flower(rule, features("taught", count, 8))
    assert np.isfinite(extended.flower_probability(features("negative", 5, 9))).all()


def test_many_photos_take_little_memory():
    generator, count, channels = np.random.default_rng(0), 1000, 512
    vectors, photos = generator.random((2, channels)), generator.random((count, channels))
    machine = SupportVectors(vectors.astype("f4"), np.full(2, -1, "f4"), np.ones(1, "f4"))
    tracemalloc.start()
    accept_flower(Rejection(machine, 1.0, 0.0, 0.5), photos.astype("f4"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # the differences of all pairs would take 2 GB
