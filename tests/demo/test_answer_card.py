"""Predictions in words: probability, close second, and labels as text."""

import pytest

from flower_model.demo.answer_card import close_second, headline, in_words, no_flower, percent
from flower_model.prediction import Prediction


def answer(*probabilities, **flower):
    return Prediction(tuple(zip(("rose", "tulip", "daisy"), probabilities, strict=False)), **flower)


@pytest.mark.parametrize(
    ("probability", "words"),
    [(1.0, "almost certain"), (0.8, "very likely"), (0.5, "probably"), (0.1, "a guess")],
)
def test_a_probability_in_words(probability, words):
    assert in_words(probability) == words


@pytest.mark.parametrize(
    ("probability", "number"),
    [(0.973, "97%"), (0.999, ">99%"), (0.994, ">99%"), (0.004, "<1%"), (0.25, "25%")],
)
def test_a_percentage_never_rounds_to_0_or_100(probability, number):
    assert percent(probability) == number


@pytest.mark.parametrize("probabilities", [(0.5, 0.45), (0.4, 0.25, 0.1), (0.34, 0.33)])
def test_a_close_second_is_mentioned(probabilities):
    assert close_second(answer(*probabilities)) == "tulip"
    assert "could also be" in headline(answer(*probabilities), {})


@pytest.mark.parametrize("probabilities", [(0.9, 0.05), (0.6, 0.2), (0.2, 0.15, 0.1), (1.0,)])
def test_a_clear_winner_or_many_candidates_have_no_close_second(probabilities):
    assert close_second(answer(*probabilities)) is None


def test_no_flower_is_reported_with_its_probability():
    text = no_flower(answer(0.9, flower_probability=0.02, is_flower=False))
    assert "No flower found" in text and "98" in text and "rose" not in text


def test_labels_are_text():
    label = "<img src=x>"
    text = headline(Prediction(((label, 0.4), ("<b>", 0.3))), {label: "<i>"})
    assert not any(tag in text for tag in ("<img", "<b>,", "<i>"))
    assert text.count("&lt;img src=x&gt;") == 1
