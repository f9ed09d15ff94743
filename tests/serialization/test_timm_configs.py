"""Layouts of config.json that others wrote: honoured as in timm, or refused with the reason."""

import json
import warnings

import pytest

from flower_model import FlowerClassifier
from flower_model.config import read_config
from tests.serialization.timm_folders import INPUTS, LABELS, assert_refused, assert_same_as_timm


@pytest.mark.parametrize("names", ["label_names", "labels"])
@pytest.mark.parametrize(
    "inputs",
    [
        INPUTS,
        {"mean": [0.1, 0.1, 0.1], "std": [0.9, 0.9, 0.9]},
        {"input_size": [3, 96, 96], "crop_pct": 1.0},
        {"interpolation": "bicubic", "crop_mode": "squash", "crop_pct": 0.9},
    ],
    ids=["all", "normalisation", "size", "interpolation"],
)
def test_legacy_flat_config_is_honoured(make_folder, flower_photo, inputs, names):
    config = {"num_classes": 5, "num_features": 64, names: LABELS, **inputs}
    folder = make_folder(config=config)
    assert_same_as_timm(folder, flower_photo)
    assert read_config(folder / "config.json").labels == tuple(LABELS)


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_labels_of_a_nested_config(make_folder, flower_photo, where):
    config = {"num_classes": 5, "pretrained_cfg": dict(INPUTS)}
    (config if where == "outside" else config["pretrained_cfg"])["label_names"] = LABELS
    folder = make_folder(config=config)
    assert_same_as_timm(folder, flower_photo)
    assert read_config(folder / "config.json").labels == tuple(LABELS)


@pytest.mark.parametrize("inputs", [{}, {"mean": [0.5, 0.5, 0.5]}])
def test_missing_preprocessing_has_the_same_defaults_as_in_timm(make_folder, flower_photo, inputs):
    config = {"num_classes": 5, "label_names": LABELS, "pretrained_cfg": inputs}
    assert_same_as_timm(make_folder(config=config), flower_photo)


@pytest.mark.parametrize(
    "config",
    [
        {"pretrained_cfg": {"input_size": [1, 28, 28], "mean": [0.5], "std": [0.5]}},
        {"pretrained_cfg": INPUTS, "model_args": {"in_chans": 1}},
        {"pretrained_cfg": {"input_size": [4, 160, 160]}},
        {"input_size": [1, 28, 28], "mean": [0.5], "std": [0.5]},
    ],
)
def test_models_for_other_than_colour_images_are_refused(make_folder, config):
    assert_refused(make_folder(config={"label_names": LABELS} | config), "channels")


def test_unknown_architecture_is_named(make_folder):
    config = {"architecture": "resnet5000", "num_classes": 5, "label_names": LABELS}
    assert_refused(make_folder(config=config), "resnet5000", "does not have")


@pytest.mark.parametrize("kind", ["vit", "resnet", "convnextv2"])
def test_config_of_a_transformers_model_is_refused(make_folder, kind):
    folder = make_folder()
    config = {"model_type": kind, "architectures": ["X"], "id2label": {"0": "rose"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert_refused(folder, "transformers model", kind)


@pytest.mark.slow
def test_timm_model_saved_by_transformers(make_folder, flower_photo, tmp_path):
    transformers = pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForImageClassification.from_pretrained(make_folder())
    saved = tmp_path / "saved"
    model.save_pretrained(saved)
    ours = FlowerClassifier.from_pretrained(saved, runtime="torch", device="cpu")
    before = FlowerClassifier.from_pretrained(tmp_path, runtime="torch", device="cpu")
    assert ours.predict(flower_photo) == before.predict(flower_photo)
