"""Untrusted weights folders: loaded safely, or refused in one sentence before they cost anything."""

import json
import pickle
import shutil
import struct

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from flower_model import FlowerClassifier
from flower_model.config import MAX_BYTES, ModelConfig, read_config, read_pictures, valid_pictures
from flower_model.errors import FlowerModelError, ModelError
from flower_model.serialization.model_card import render_model_card
from training.engine.pretrained import create_network
from training.recipe import Model

NESTED = "[" * 100_000


class Evil:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "untrusted")


def recipe_model(folder):
    return Model(architecture="test_resnet", pretrained=str(folder))


def edit_config(folder, **keys):
    content = json.loads((folder / "config.json").read_text())
    for key, value in keys.items():
        inner, _, last = key.rpartition("__")
        (content.setdefault(inner, {}) if inner else content)[last] = value
    (folder / "config.json").write_text(json.dumps(content))


def assert_refused(folder, match):
    with pytest.raises(FlowerModelError, match=match) as caught:
        FlowerClassifier.from_pretrained(folder, runtime="torch", device="cpu")
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) <= 300


TEMPERATURE = "^The temperature in .* must be a number above 0"
# name -> (changed keys of config.json, what the message says)
CHANGES = {
    "NaN temperature": ({"flower_model__temperature": float("nan")}, TEMPERATURE),
    "infinite temperature": ({"flower_model__temperature": float("inf")}, TEMPERATURE),
    "temperature beyond floats": ({"flower_model__temperature": 10**400}, TEMPERATURE),
    "temperature near zero": ({"flower_model__temperature": 1e-300}, TEMPERATURE),
    "boolean temperature": ({"flower_model__temperature": True}, TEMPERATURE),
    "pretrained_cfg as a list": ({"pretrained_cfg": [1]}, "pretrained_cfg must be a JSON object"),
    "huge number of classes": (
        {"num_classes": 10**12},
        "5 label_names but num_classes is 1000000000000",
    ),
    "huge number of classes without labels": (
        {"num_classes": 10**12, "label_names": None},
        "has no label_names",
    ),
    "label of 1 MB": (
        {"label_names": ["a", "b", "c", "d", "e" * 1_000_000]},
        "^label_names in .* at most 200 printable",
    ),
    "label with a terminal escape": (
        {"label_names": ["a", "b", "c", "d", "\x1b[2J"]},
        "^label_names in .* at most 200 printable",
    ),
    "description of 1 MB": (
        {"label_descriptions": {"rose": "r" * 1_000_000}},
        "^label_descriptions in .* at most 1000 printable",
    ),
    "description that is not a string": (
        {"label_descriptions": {"rose": {"a": 1}}},
        "^label_descriptions in .* at most 1000 printable",
    ),
    "architecture on the Hub": (
        {"architecture": "hf-hub:evil/model"},
        "'hf-hub:evil/model', which timm .* does not have",
    ),
    "larger architecture": ({"architecture": "vit_giant_patch14_dinov2"}, "'cls_token' is missing"),
    "architecture with a terminal escape": ({"architecture": "\x1b[2J"}, "has no architecture key"),
    "huge number of layers": ({"model_args__layers": [10**9] * 4}, "sets 'layers' .* not allowed"),
    "huge number of channels": (
        {"model_args__in_chans": 10**9},
        "takes images with 1000000000 channels",
    ),
    "huge images": ({"model_args__img_size": 10**6}, "sets 'img_size' .* not allowed"),
    "model_args as a list": ({"model_args": [1]}, "model_args must be a JSON object"),
    "checkpoint path": (
        {"model_args__checkpoint_path": "/etc/passwd"},
        "sets 'checkpoint_path' .* not allowed",
    ),
    "input size beyond memory": (
        {"pretrained_cfg__input_size": [3, 100_000, 100_000]},
        "invalid input_size in pretrained_cfg",
    ),
    "test input size beyond memory": (
        {"pretrained_cfg__test_input_size": [3, 100_000, 100_000]},
        "invalid test_input_size in pretrained_cfg",
    ),
    "zero std": ({"pretrained_cfg__std": [0, 0, 0]}, "invalid std in pretrained_cfg"),
    "NaN mean": ({"pretrained_cfg__mean": [float("nan")] * 3}, "invalid mean in pretrained_cfg"),
    "zero crop": ({"pretrained_cfg__crop_pct": 0}, "invalid crop_pct in pretrained_cfg: 0"),
    "tiny crop": ({"pretrained_cfg__crop_pct": 1e-9}, "invalid crop_pct in pretrained_cfg: 1e-09"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_out_of_bounds_config_is_refused(name, folder):
    changed, message = CHANGES[name]
    edit_config(folder, **changed)
    assert_refused(folder, message)


@pytest.mark.parametrize(
    "text", [NESTED, "{" + NESTED, '{"a":' * 50_000, "\0", "9" * 10_000, "NaN", "", '"text"', "[]"]
)
def test_config_that_is_not_an_object_is_refused(text, folder):
    (folder / "config.json").write_text(text)
    assert_refused(folder, "config.json")


def test_oversized_config_is_refused_without_reading_it(folder):
    with (folder / "config.json").open("wb") as file:
        file.truncate(1_000_000_000)
    assert_refused(folder, f"larger than {MAX_BYTES // 1_000_000} MB")


def test_weight_locations_in_config_are_ignored(folder, tmp_path):
    trap = tmp_path / "trap.bin"
    trap.write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    for key, value in {
        "file": str(trap),
        "url": f"file://{trap}",
        "hf_hub_id": "evil/model",
        "source": "hf-hub",
        "custom_load": True,
    }.items():
        edit_config(folder, **{f"pretrained_cfg__{key}": value})
    assert read_config(folder / "config.json").architecture == "test_resnet"
    model = FlowerClassifier.from_pretrained(folder, runtime="torch", device="cpu")
    assert not {"file", "url", "hf_hub_id", "source"} & set(model.network.pretrained_cfg)
    network = create_network(recipe_model(folder), 3)
    assert not (tmp_path / "owned").exists()
    name, expected = next(iter(load_file(folder / "model.safetensors").items()))
    assert torch.equal(network.state_dict()[name], expected.float())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.safetensors"])
def test_pickle_is_never_loaded(name, folder, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    assert_refused(folder, "model.safetensors")
    with pytest.raises(ModelError):
        create_network(recipe_model(folder), 3)
    assert not (tmp_path / "owned").exists()


def replace_tensors(folder, **tensors):
    path = folder / "model.safetensors"
    save_file({**load_file(path), **tensors}, path)


def test_unexpected_tensor_is_named(folder):
    replace_tensors(folder, **{"evil.weight": torch.zeros(3)})
    assert_refused(folder, "evil.weight")


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_tensor_with_unsupported_dtype_is_named(kind, folder):
    shape = load_file(folder / "model.safetensors")["fc.weight"].shape
    replace_tensors(folder, **{"fc.weight": torch.zeros(shape, dtype=kind)})
    assert_refused(folder, "fc.weight")


@pytest.mark.parametrize("side", [65, 256])
def test_huge_patch_embedding_is_not_resampled(folder, side):
    """Resampling would take memory in proportion to the fourth power of its side."""
    edit_config(folder, architecture="test_vit")
    tensors = timm.create_model("test_vit", num_classes=5, img_size=224).state_dict()
    tensors["patch_embed.proj.weight"] = torch.zeros(64, 3, side, side)
    save_file(tensors, folder / "model.safetensors")
    assert_refused(folder, "patch_embed.proj.weight")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused(number, folder):
    shape = load_file(folder / "model.safetensors")["fc.weight"].shape
    replace_tensors(folder, **{"fc.weight": torch.full(shape, number)})
    assert_refused(folder, "NaN or infinite")


def test_non_finite_logits_raise(folder, flower_photo):
    shape = load_file(folder / "model.safetensors")["fc.weight"].shape
    replace_tensors(folder, **{"fc.weight": torch.full(shape, 3e38)})
    model = FlowerClassifier.from_pretrained(folder, runtime="torch", device="cpu")
    with pytest.raises(ModelError, match="not finite"):
        model.predict(flower_photo)


@pytest.mark.parametrize("lie", ["length", "offsets", "shape", "nesting"])
def test_inconsistent_safetensors_header_is_refused(lie, folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + length]
    if lie == "length":
        data = struct.pack("<Q", 2**63) + data[8:]
    elif lie == "nesting":
        data = struct.pack("<Q", len(NESTED)) + NESTED.encode()
    else:
        old, new = {"offsets": (b"[0,", b"[9,"), "shape": (b'"shape":[', b'"shape":[9999999,')}[lie]
        header = header.replace(old, new, 1)
        data = struct.pack("<Q", len(header)) + header + data[8 + length :]
    path.write_bytes(data)
    assert_refused(folder, "model.safetensors")


def test_invalid_plots_are_skipped(folder):
    (folder / "reliability.png").write_bytes(b"<svg onload='alert(1)'/>")
    (folder / "training-curve.png").symlink_to("/etc/hostname")
    assert valid_pictures(read_pictures(folder)) == {}


MARKUP = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) **b** `c` | d"


def test_card_escapes_labels_and_descriptions():
    labels = (MARKUP, "rose")
    card = render_model_card(ModelConfig("test_resnet", labels, {MARKUP: MARKUP}))
    assert "\\<img src=x onerror=alert(1)\\>" in card and "\\*\\*b\\*\\*" in card
    for unescaped in ("<img", "[x](", "**b**", "`c`", "| d"):
        assert unescaped not in card.replace("\\" + unescaped[0], "")


@pytest.mark.parametrize("details", [{"recipe": 3}, {"recipe": {"data": 4}}, {"metrics": [5]}])
def test_card_leaves_out_malformed_details(details):
    config = ModelConfig("test_resnet", ("rose", "tulip"))
    assert render_model_card(
        ModelConfig("test_resnet", ("rose", "tulip"), details=details)
    ) == render_model_card(config)


def test_saved_model_has_the_same_probabilities(tiny_folder, tiny_model, flower_photo):
    model = FlowerClassifier.from_pretrained(tiny_folder, runtime="torch", device="cpu")
    again = [p for _, p in model.predict(flower_photo).top]
    assert np.allclose(again, [p for _, p in tiny_model.predict(flower_photo).top], atol=0.01)
