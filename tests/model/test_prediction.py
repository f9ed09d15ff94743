"""Prediction: its values and their JSON form."""

import json
import math

import numpy as np

from flower_model import Prediction

TOP = (("rose", float(np.float32(0.7))), ("tulip", math.pi / 20))


def test_to_dict_keeps_all_values_exactly():
    answer = Prediction(TOP, flower_probability=1 / 3, is_flower=False)
    found = json.loads(json.dumps(answer.to_dict()))
    assert found == {
        "label": "rose",
        "probability": TOP[0][1],
        "is_flower": False,
        "flower_probability": 1 / 3,
        "top": [{"label": label, "probability": p} for label, p in TOP],
    }


def test_to_dict_rounds_to_significant_digits():
    found = Prediction((("rose", 0.123456), ("tulip", 1.23456e-7))).to_dict(digits=3)
    assert [entry["probability"] for entry in found["top"]] == [0.123, 1.23e-7]
    assert found["probability"] == 0.123


def test_without_a_rejection_rule_the_flower_values_are_null():
    found = Prediction(TOP).to_dict()
    assert found["is_flower"] is None and found["flower_probability"] is None
