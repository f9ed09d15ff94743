"""Genus and family: summed probabilities of the labels that belong to them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from flower_model.config import ModelConfig, read_config
from flower_model.errors import ModelError
from flower_model.prediction import make_predictions
from flower_model.runtimes.base import Outputs

TAXONOMY = {
    "bearded iris": ("Iris", "Iridaceae"),
    "yellow iris": ("Iris", "Iridaceae"),
    "crocus": ("Crocus", "Iridaceae"),
    "bromeliad": ("", "Bromeliaceae"),
}
CONFIG = ModelConfig("resnet50", tuple(TAXONOMY), taxonomy=TAXONOMY)


def predict(probabilities, config=CONFIG):
    outputs = Outputs(np.log([probabilities]), np.zeros((1, 4), np.float32), None)
    return make_predictions(outputs, config, None, top_k=2)[0]


def test_a_genus_can_be_probable_when_none_of_its_labels_is():
    answer = predict([0.35, 0.3, 0.1, 0.25])
    assert answer.probability == pytest.approx(0.35)
    assert answer.genus == ("Iris", pytest.approx(0.65))
    assert answer.family == ("Iridaceae", pytest.approx(0.75))


def test_a_class_of_several_genera_counts_for_its_family_only():
    answer = predict([0.05, 0.05, 0.1, 0.8])
    assert answer.genus == ("Iris", pytest.approx(0.1))
    assert answer.family == ("Bromeliaceae", pytest.approx(0.8))


def test_a_model_without_taxonomy_has_neither():
    answer = predict([0.25] * 4, replace(CONFIG, taxonomy={}))
    assert answer.genus is None
    assert answer.family is None


def test_taxonomy_and_aliases_survive_saving_and_loading(tiny_model, tmp_path):
    config = replace(
        tiny_model.config,
        taxonomy={"tulip": ("Tulipa", "Liliaceae")},
        aliases={"garden tulip": "tulip"},
    )
    type(tiny_model)(tiny_model.network, config, device="cpu").save_pretrained(tmp_path / "model")
    loaded = read_config(tmp_path / "model" / "config.json")
    assert loaded.taxonomy == config.taxonomy
    assert loaded.aliases == config.aliases


@pytest.mark.parametrize(
    "entry",
    [{"taxonomy": ["Tulipa"]}, {"taxonomy": {"tulip": "Tulipa"}}, {"aliases": {"a": 1}}],
)
def test_a_malformed_taxonomy_is_rejected(tiny_folder, tmp_path, entry):
    content = json.loads((tiny_folder / "config.json").read_text("utf-8"))
    content["flower_model"] |= entry
    (tmp_path / "config.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ModelError, match=next(iter(entry))):
        read_config(tmp_path / "config.json")
