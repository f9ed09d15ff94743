"""PlantPrediction: several photos of one plant, one answer."""

import json

import numpy as np
import pytest

from flower_model import FlowerModelError, ImageError
from flower_model.confidence import probabilities
from flower_model.config import ModelConfig
from flower_model.plant import INDEPENDENCE, PlantPhoto, make_plant_prediction
from flower_model.runtimes.base import Outputs

LABELS = ("rose", "tulip", "lily")
CONFIG = ModelConfig("test_resnet", LABELS, {"rose": "Rosa"}, temperature=2.0)


def plant(*probabilities, config=CONFIG, rejection=None, features=None, digests="abcdefg"):
    """The answer for photos with these probabilities; those with the same digest are copies."""
    logits = config.temperature * np.log(np.array(probabilities, np.float32))
    features = np.zeros((len(logits), 1), np.float32) if features is None else features
    photos = [
        PlantPhoto(Outputs(logits[i : i + 1], features[i : i + 1], None), digests[i].encode())
        for i in range(len(logits))
    ]
    return make_plant_prediction(photos, config, rejection, top_k=3)


class Judged:
    """A rejection rule that accepts photos whose feature is positive."""

    threshold = 0.5
    known = None

    def flower_probability(self, features):
        return 0.5 + features[:, 0] / 2


class Doubting(Judged):
    """It also has a known-species rule: the probability of the first label."""

    class known:
        threshold = 0.5

        def probability(logits, temperature):
            return probabilities(logits, temperature)[:, 0]


def judged(*accepted):
    return np.array([[0.8 if one else -0.8] for one in accepted], np.float32)


def test_one_photo_gives_the_prediction_of_the_photo():
    answer = plant((0.7, 0.2, 0.1))
    assert dict(answer.top) == pytest.approx({"rose": 0.7, "tulip": 0.2, "lily": 0.1}, abs=1e-6)
    assert answer.photos[0].top == answer.top
    assert answer.botanical_name == "Rosa" and answer.is_flower is None


def test_log_probabilities_are_averaged_and_sharpened():
    answer = plant((0.7, 0.2, 0.1), (0.4, 0.5, 0.1))
    expected = np.array([0.7 * 0.4, 0.2 * 0.5, 0.1 * 0.1]) ** (2**INDEPENDENCE / 2)
    assert [p for _, p in answer.top] == pytest.approx(expected / expected.sum(), abs=1e-6)


def test_more_photos_that_agree_make_the_answer_surer_but_less_than_independent_ones():
    one, two, four = (plant(*[(0.7, 0.2, 0.1)] * count).probability for count in (1, 2, 4))
    assert one < two < four < 0.7**4 / (0.7**4 + 0.2**4 + 0.1**4)


def test_copies_count_once_and_indices_are_those_of_the_photos_as_passed():
    rose, tulip = (0.9, 0.05, 0.05), (0.3, 0.6, 0.1)
    options = {"rejection": Doubting(), "features": judged(True, True, False, True, True)}
    answer = plant(rose, rose, rose, tulip, tulip, digests="aabcc", **options)
    assert answer.copies == (1, 4) and answer.left_out == (2,) and answer.disagreeing == (3, 4)
    once = plant(rose, tulip, **(options | {"features": judged(True, True)}))
    assert answer.top == once.top and len(answer.photos) == 5
    assert answer.known_probability == once.known_probability


def test_disagreeing_photos_are_named():
    answer = plant((0.9, 0.05, 0.05), (0.9, 0.05, 0.05), (0.3, 0.6, 0.1))
    assert answer.label == "rose" and answer.disagreeing == (2,)
    assert answer.photos[2].label == "tulip"


def test_photos_of_another_species_agree_if_the_answer_is_their_genus():
    lilies = {"rose": ("Rosa", "x"), "tulip": ("Lilium", "y"), "lily": ("Lilium", "y")}
    config = ModelConfig("test_resnet", LABELS, taxonomy=lilies)
    answer = plant((0.02, 0.5, 0.48), (0.02, 0.48, 0.5), config=config)
    assert answer.answer == "Lilium" and answer.disagreeing == ()


def test_a_photo_that_is_sure_of_the_genus_alone_agrees_with_a_species_of_it():
    lilies = {"rose": ("Rosa", "x"), "tulip": ("Lilium", "y"), "lily": ("Lilium", "y")}
    config = ModelConfig("test_resnet", LABELS, taxonomy=lilies)
    answer = plant((0.1, 0.85, 0.05), (0.1, 0.42, 0.48), (0.9, 0.05, 0.05), config=config)
    assert [photo.answer for photo in answer.photos] == ["tulip", "Lilium", "rose"]
    assert answer.answer == "tulip" and answer.disagreeing == (2,)


def test_photos_without_a_flower_are_left_out():
    photos = [(0.9, 0.05, 0.05), (0.01, 0.98, 0.01)]
    answer = plant(*photos, rejection=Judged(), features=judged(True, False))
    assert answer.left_out == (1,) and answer.disagreeing == ()
    assert answer.top == answer.photos[0].top
    assert answer.is_flower is True and answer.flower_probability == pytest.approx(0.9)


def test_a_plant_without_any_flower_is_no_flower():
    photos = [(0.9, 0.05, 0.05), (0.2, 0.7, 0.1)]
    answer = plant(*photos, rejection=Judged(), features=judged(False, False))
    assert answer.is_flower is False and answer.answer == "no flower"
    assert answer.left_out == answer.disagreeing == () and answer.label == "rose"


def test_photos_of_an_unknown_flower_do_not_disagree_about_its_name():
    photos = [(0.2, 0.7, 0.1), (0.2, 0.1, 0.7)]
    answer = plant(*photos, rejection=Doubting(), features=judged(True, True))
    assert answer.answer == "unknown flower" and answer.disagreeing == ()


@pytest.mark.parametrize(("first", "is_known"), [(0.9, True), (0.2, False)])
def test_a_plant_is_known_if_its_photos_with_a_flower_are_on_average(first, is_known):
    photos = [(first, 0.95 - first, 0.05), (0.4, 0.3, 0.3), (0.0001, 0.0002, 0.9997)]
    answer = plant(*photos, rejection=Doubting(), features=judged(True, True, False))
    assert answer.is_known is is_known
    assert answer.known_probability == pytest.approx((first + 0.4) / 2, abs=1e-4)


def test_to_dict_has_the_answers_to_the_photos():
    answer = plant((0.9, 0.05, 0.05), (0.3, 0.6, 0.1))
    found = json.loads(json.dumps(answer.to_dict(digits=3)))
    assert found["label"] == "rose" and found["disagreeing"] == [1] and found["left_out"] == []
    assert found["photos"] == [photo.to_dict(digits=3) for photo in answer.photos]


def test_predict_plant_accepts_what_predict_accepts(tiny_model, flower_photo):
    answer = tiny_model.predict_plant([flower_photo, flower_photo.read_bytes()], top_k=2)
    photo = tiny_model.predict(flower_photo, top_k=2)
    assert answer.label == photo.label and answer.copies == (1,)
    assert answer.probability == pytest.approx(photo.probability)  # a copy is no evidence
    # In a batch, a processor may add in another order.
    assert [alone.label for alone in answer.photos] == [photo.label] * 2
    assert [alone.probability for alone in answer.photos] == pytest.approx([photo.probability] * 2)


def test_an_unreadable_photo_is_named_by_its_index(tiny_model, flower_photo):
    with pytest.raises(ImageError, match=r"^photos\[1\]: "):
        tiny_model.predict_plant([flower_photo, b"no photo"])


def test_at_least_one_photo_is_needed(tiny_model):
    with pytest.raises(FlowerModelError, match="no photos of the plant"):
        tiny_model.predict_plant([])
