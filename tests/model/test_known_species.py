"""The known-species rule: its scores, its file, and the answers that it changes."""

from dataclasses import replace

import numpy as np
import pytest

from flower_model.config import ModelConfig
from flower_model.errors import ModelError
from flower_model.known_species import KnownSpecies, species_scores
from flower_model.prediction import UNKNOWN_FLOWER, Prediction, make_predictions
from flower_model.rejection import Rejection, Residual, load_rejection, save_rejection
from flower_model.runtimes.base import Outputs

RULE = KnownSpecies((1.0, 0.5), -4.0, 0.5)
FLOWERS = Rejection(
    Residual(np.eye(4, 2, dtype=np.float32), np.zeros(4, np.float32)), 1.0, 5.0, 0.1
)
CONFIG = ModelConfig("resnet18", ("daisy", "rose", "tulip"), temperature=0.5)
SURE, UNSURE = [9.0, 0.0, 0.0], [0.4, 0.3, 0.2]


def predict(rejection):
    outputs = Outputs(np.array([SURE, UNSURE], np.float32), np.ones((2, 4), np.float32), None)
    return make_predictions(outputs, CONFIG, rejection, top_k=3)


def test_confident_logits_are_known_and_flat_ones_are_not():
    known, unknown = predict(replace(FLOWERS, known=RULE))
    assert known.is_known and known.known_probability > 0.9 and known.answer == "daisy"
    assert unknown.is_known is False and unknown.known_probability < 0.1
    assert unknown.answer == UNKNOWN_FLOWER and unknown.label == "daisy"


def test_model_without_the_rule_does_not_judge_the_species():
    assert [answer.is_known for answer in predict(FLOWERS)] == [None, None]
    assert predict(None)[0].to_dict()["known_probability"] is None


def test_photo_without_a_flower_is_no_unknown_flower():
    assert Prediction((("rose", 0.3),), 0.1, False, is_known=False).answer == "no flower"


def test_scores_ignore_a_constant_added_to_all_logits():
    logits = np.array([SURE, UNSURE])
    assert np.allclose(species_scores(logits, 0.7), species_scores(logits + 100, 0.7))


def test_scores_of_extreme_logits_are_finite():
    assert np.isfinite(species_scores(np.array([[1e4, -1e4], [0.0, 0.0]]), 0.05)).all()


def test_rule_survives_saving(tmp_path):
    save_rejection(replace(FLOWERS, known=RULE), tmp_path)
    assert load_rejection(tmp_path).known == RULE
    save_rejection(FLOWERS, tmp_path)
    assert load_rejection(tmp_path).known is None


@pytest.mark.parametrize(
    "rule",
    [
        KnownSpecies((1.0,), 0.0, 0.5),
        KnownSpecies((1.0, np.nan), 0.0, 0.5),
        replace(RULE, threshold=2),
    ],
    ids=["too few weights", "not finite", "threshold above 1"],
)
def test_damaged_rule_is_rejected_in_one_sentence(tmp_path, rule):
    save_rejection(replace(FLOWERS, known=rule), tmp_path)
    with pytest.raises(ModelError, match="valid rejection rule"):
        load_rejection(tmp_path)
