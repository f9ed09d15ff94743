"""The known-species rule is fitted by species: those that it is measured on, it has not seen."""

import numpy as np
import pytest

from flower_model.errors import DataError
from tests.support.drawn import draw_dataset, draw_photo
from training.calibration.held_out import HeldOut
from training.calibration.known_species_fit import (
    evaluate_known_species,
    fit_known_species,
)
from training.data.outliers import calibration_outliers, training_outliers
from training.recipe import Data, load_recipe


def logits(count, height, seed):
    """Return logits (count, 5) of photos with one class at about `height` above the others."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (count, 5))
    rows[np.arange(count), rng.integers(0, 5, count)] += height
    return rows


def outputs(count, height, seed):
    fold = np.arange(count) % 5
    return HeldOut(logits(count, height, seed), np.empty((count, 0)), fold, fold, fold)


def test_rule_keeps_95_percent_of_known_flowers():
    known = logits(400, 6, 0)
    rule = fit_known_species(known, logits(100, 1, 1), 1.0)
    assert (rule.probability(known, 1.0) >= rule.threshold).mean() == pytest.approx(0.95, abs=0.01)
    assert (rule.probability(logits(100, 1, 2), 1.0) < rule.threshold).mean() > 0.8


def test_equal_numbers_are_not_needed_for_a_probability_of_one_half():
    known, unknown = logits(2000, 4, 0), logits(60, 2, 1)
    mean = np.mean(
        [
            fit_known_species(known, unknown, 1.0).probability(x, 1.0).mean()
            for x in (known, unknown)
        ]
    )
    assert mean == pytest.approx(0.5, abs=0.1)


def test_metrics_tell_separable_from_equal_species():
    apart = evaluate_known_species(outputs(200, 6, 0), outputs(100, 0, 1), 1.0)
    assert apart["auroc"] > 0.97 and apart["unknown_accepted"] < 0.3
    same = evaluate_known_species(outputs(200, 6, 0), outputs(200, 6, 1), 1.0)
    assert same["auroc"] == pytest.approx(0.5, abs=0.1)
    assert same["unknown_confident"] > 0.8


def test_half_of_the_species_are_trained_on_and_the_others_are_kept_for_the_rule(tmp_path):
    for number in range(12):
        folder = tmp_path / "others" / f"species {number}"
        folder.mkdir(parents=True)
        for photo in range(2):
            draw_photo("purple", 2 * number + photo).save(folder / f"{photo}.png")
    data = Data(train=("a",), val=("b",), other_flowers=("others",))
    trained = training_outliers(data, tmp_path, 32).other_flowers
    recipe = load_recipe("flowers5").model_copy(update={"data": data})
    fitted = calibration_outliers((None, tmp_path / "others"), 32, recipe).other_flowers
    sides = [{photo.label for photo in side.photos} for side in (trained, fitted)]
    assert len(sides[0] | sides[1]) == 12
    assert [*map(len, sides)] == [6, 6]


def test_too_few_species_are_rejected_in_one_sentence(tmp_path):
    draw_dataset(tmp_path / "others", photos_per_class=9)
    with pytest.raises(DataError, match="requires at least 5"):
        calibration_outliers((None, tmp_path / "others"), 32, load_recipe("flowers5"))


def test_too_few_species_besides_those_of_the_training_are_counted(tmp_path):
    draw_dataset(tmp_path / "others", photos_per_class=9)
    recipe = load_recipe("flowers5", {"data": {"other_flowers": ["others"]}})
    with pytest.raises(DataError, match="only 1 species besides the half for training"):
        calibration_outliers((None, tmp_path / "others"), 32, recipe)
