"""An answer in words: how sure, between which two, and labels as text."""

import pytest

from flower_model.demo.wording import doubt, headline, in_words, no_flower, percent
from flower_model.prediction import Prediction


def answer(*probabilities, **flower):
    return Prediction(tuple(zip(("rose", "tulip", "daisy"), probabilities, strict=False)), **flower)


@pytest.mark.parametrize(
    ("probability", "words"),
    [(1.0, "almost certain"), (0.8, "very likely"), (0.5, "probably"), (0.1, "a guess")],
)
def test_a_probability_is_said_in_words(probability, words):
    assert in_words(probability) == words


@pytest.mark.parametrize(
    ("probability", "number"),
    [(0.973, "97%"), (0.999, ">99%"), (0.994, ">99%"), (0.004, "<1%"), (0.25, "25%")],
)
def test_nothing_is_said_to_be_certain_or_impossible(probability, number):
    assert percent(probability) == number


@pytest.mark.parametrize("probabilities", [(0.5, 0.45), (0.4, 0.25, 0.1), (0.34, 0.33)])
def test_it_says_between_which_two_it_hesitates(probabilities):
    assert doubt(answer(*probabilities)) == "tulip"
    assert "hesitates between" in headline(answer(*probabilities), {})


@pytest.mark.parametrize("probabilities", [(0.9, 0.05), (0.6, 0.2), (0.2, 0.15, 0.1), (1.0,)])
def test_it_does_not_hesitate_when_one_name_stands_out_or_none_does(probabilities):
    assert doubt(answer(*probabilities)) is None


def test_no_flower_is_said_with_its_probability():
    text = no_flower(answer(0.9, flower_probability=0.02, is_flower=False))
    assert "No flower here" in text and "98" in text and "rose" not in text


def test_labels_are_text():
    label = "<img src=x>"
    text = headline(Prediction(((label, 0.4), ("<b>", 0.3))), {label: "<i>"})
    assert not any(tag in text for tag in ("<img", "<b>,", "<i>"))
    assert text.count("&lt;img src=x&gt;") == 2
