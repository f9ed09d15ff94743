"""The answer card: probabilities, close second, genus, and labels as text."""

import pytest

from flower_model.demo.answers.album import summary_of
from flower_model.demo.answers.card import answer_card, close_second, in_words, percent
from flower_model.demo.answers.table import UploadResult
from flower_model.plant import PlantPrediction
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
    assert "It could also be <em>tulip</em>" in answer_card(answer(*probabilities), {})


@pytest.mark.parametrize("probabilities", [(0.9, 0.05), (0.6, 0.2), (0.2, 0.15, 0.1), (1.0,)])
def test_a_clear_winner_or_many_candidates_have_no_close_second(probabilities):
    assert close_second(answer(*probabilities)) is None


def test_every_probability_appears_once_and_small_ones_are_summed_up():
    card = answer_card(answer(0.97, 0.025, 0.004), {})
    assert card.count("97%") == card.count("2%") == 1
    assert "daisy" not in card and "All other flowers: below 1% each." in card


def test_flowers_that_are_not_listed_are_summed_up_if_they_may_be_probable():
    assert "All other flowers together: 30%." in answer_card(answer(0.4, 0.2, 0.1), {})
    assert "All other flowers" not in answer_card(answer(0.5, 0.3, 0.2), {})


def test_a_plant_says_from_how_many_photos_and_which_disagree_or_show_no_flower():
    rose, tulip = answer(0.9), Prediction((("tulip", 0.8),))
    plant = PlantPrediction(
        rose.top, photos=(rose, tulip, rose), disagreeing=(1,), left_out=(2,), is_flower=True
    )
    card = answer_card(plant, {})
    assert "from 2 photos" in card and "Photo 2 disagrees: tulip." in card
    assert "Photo 3 shows no flower and is left out." in card


def test_notes_are_in_the_order_of_the_photos():
    rose, tulip = answer(0.9), Prediction((("tulip", 0.8),))
    plant = PlantPrediction(
        rose.top, photos=(rose, rose, tulip), disagreeing=(2,), left_out=(0,), is_flower=True
    )
    card = answer_card(plant, {})
    assert card.index("Photo 1 shows no flower") < card.index("Photo 3 disagrees")


def test_copies_of_a_photo_are_no_further_photos():
    rose = answer(0.9)
    plant = PlantPrediction(rose.top, photos=(rose, rose, rose), copies=(1,), is_flower=True)
    assert "from 2 photos" in answer_card(plant, {})


def test_a_sure_genus_with_an_unsure_species_is_the_answer():
    card = answer_card(answer(0.45, 0.44, 0.1, genus=("Lilium", 0.93)), {})
    assert "<h2><i>Lilium</i></h2>" in card and "93%" in card
    assert "Which species?" in card and "45%" in card


@pytest.mark.parametrize("genus", [("Rosa", 0.95), None])
def test_a_sure_species_is_the_answer_whatever_its_genus(genus):
    assert "<h2 data-name='rose'>rose</h2>" in answer_card(answer(0.9, 0.05, genus=genus), {})


def test_no_flower_is_reported_with_its_probability():
    card = answer_card(answer(0.9, flower_probability=0.02, is_flower=False), {})
    assert "No flower found" in card and "98%" in card
    assert card.index("<details>") < card.index("rose")


def test_flower_of_an_unknown_species_is_headed_as_such():
    card = answer_card(answer(0.6, 0.3, known_probability=0.2, is_known=False), {"rose": "Rosa"})
    assert "A flower that the model doesn't know" in card and "<b>80%</b>" in card
    assert "Most similar" in card and "data-name='rose'" in card


def test_labels_are_text():
    label = "'<img src=x>"
    card = answer_card(Prediction(((label, 0.4), ("<b>", 0.3))), {label: "<u>'", "<b>": "<u>"})
    assert "<img" not in card and "<u>" not in card and "<b><" not in card
    assert "&#x27;&lt;img src=x&gt;" in card


OTHERS = [answer(0.9, is_flower=False), answer(0.9, is_known=False)]


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([answer(0.9), *OTHERS], "<b>1</b> photo identified as 1 flower."),
        ([answer(0.9)] * 2, "<b>2</b> photos identified as 1 flower."),
        ([answer(0.9), Prediction((("tulip", 0.9),))], "as 2 different flowers."),
        (OTHERS, "<b>0</b> photos identified."),
    ],
)
def test_photos_without_a_flower_that_is_known_are_not_counted_as_identified(answers, text):
    rows = [UploadResult(f"{number}.jpg", each) for number, each in enumerate(answers)]
    assert text in summary_of(rows, csv="")
