"""Prediction: its values and their JSON form."""

import json
import math

import numpy as np
import pytest

from flower_model import Prediction

TOP = (("rose", float(np.float32(0.7))), ("tulip", math.pi / 20))


def test_to_dict_keeps_all_values_exactly():
    genus = ("Rosa", math.e / 3)
    answer = Prediction(
        TOP,
        flower_probability=1 / 3,
        is_flower=False,
        genus=genus,
        botanical_name="Rosa",
        known_probability=2 / 3,
        is_known=True,
    )
    found = json.loads(json.dumps(answer.to_dict()))
    assert found == {
        "label": "rose",
        "botanical_name": "Rosa",
        "probability": TOP[0][1],
        "genus": {"name": "Rosa", "probability": math.e / 3},
        "family": None,
        "is_flower": False,
        "flower_probability": 1 / 3,
        "is_known": True,
        "known_probability": 2 / 3,
        "top": [{"label": label, "probability": p} for label, p in TOP],
    }


def test_to_dict_rounds_to_significant_digits():
    found = Prediction((("rose", 0.123456), ("tulip", 1.23456e-7))).to_dict(digits=3)
    assert [entry["probability"] for entry in found["top"]] == [0.123, 1.23e-7]
    assert found["probability"] == 0.123


def test_without_a_rejection_rule_the_flower_values_are_null():
    found = Prediction(TOP).to_dict()
    assert found["is_flower"] is None and found["flower_probability"] is None


LILIES = (("tiger lily", 0.45), ("fire lily", 0.44))


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        (Prediction(TOP, genus=("Rosa", 0.7)), "rose"),
        (Prediction(TOP, is_flower=True), "rose"),
        (Prediction(TOP, flower_probability=0.1, is_flower=False), "no flower"),
        (Prediction(LILIES, genus=("Lilium", 0.93)), "Lilium"),
        (Prediction(LILIES, genus=("Lilium", 0.79)), "tiger lily"),
        (Prediction((("tiger lily", 0.9),), genus=("Lilium", 0.93)), "tiger lily"),
        (Prediction(LILIES, is_flower=False, genus=("Lilium", 0.93)), "no flower"),
    ],
)
def test_the_answer_is_the_label_the_only_sure_genus_or_no_flower(prediction, answer):
    assert prediction.answer == answer
