"""A stranger's weights folder: loaded as it says, or refused in one sentence before it costs anything."""

import json
import pickle
import shutil
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flower_model import FlowerClassifier
from flower_model.config import MAX_BYTES, ModelConfig, read_config, read_pictures
from flower_model.errors import FlowerModelError, ModelError
from flower_model.serialization.model_card import model_card
from training.engine.pretrained import create_network
from training.recipe import Model

NESTED = "[" * 100_000


class Evil:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "stranger")


def start_from(folder):
    return Model(architecture="test_resnet", pretrained=str(folder))


def change(folder, **keys):
    content = json.loads((folder / "config.json").read_text())
    for key, value in keys.items():
        inner, _, last = key.rpartition("__")
        (content.setdefault(inner, {}) if inner else content)[last] = value
    (folder / "config.json").write_text(json.dumps(content))


def refuse(folder, match="."):
    with pytest.raises(FlowerModelError, match=match) as caught:
        FlowerClassifier.from_pretrained(folder, runtime="torch", device="cpu")
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 1000


CHANGES = {
    "a temperature that is none": {"flower_model__temperature": float("nan")},
    "an endless temperature": {"flower_model__temperature": float("inf")},
    "a temperature beyond floats": {"flower_model__temperature": 10**400},
    "a temperature next to nothing": {"flower_model__temperature": 1e-300},
    "a true temperature": {"flower_model__temperature": True},
    "a list of settings": {"pretrained_cfg": [1]},
    "a number of classes beyond all": {"num_classes": 10**12},
    "as many classes without names": {"num_classes": 10**12, "label_names": None},
    "a label of megabytes": {"label_names": ["a", "b", "c", "d", "e" * 1_000_000]},
    "a label that a terminal obeys": {"label_names": ["a", "b", "c", "d", "\x1b[2J"]},
    "a description of megabytes": {"label_descriptions": {"rose": "r" * 1_000_000}},
    "descriptions that are no texts": {"label_descriptions": {"rose": {"a": 1}}},
    "another architecture on the Hub": {"architecture": "hf-hub:evil/model"},
    "a larger architecture": {"architecture": "vit_giant_patch14_dinov2"},
    "an architecture that a terminal obeys": {"architecture": "\x1b[2J"},
    "more layers": {"model_args__layers": [10**9] * 4},
    "more channels": {"model_args__in_chans": 10**9},
    "larger pictures": {"model_args__img_size": 10**6},
    "arguments in a list": {"model_args": [1]},
    "a checkpoint to load": {"model_args__checkpoint_path": "/etc/passwd"},
    "pictures beyond memory": {"pretrained_cfg__input_size": [3, 100_000, 100_000]},
    "test pictures beyond memory": {"pretrained_cfg__test_input_size": [3, 100_000, 100_000]},
    "no spread of colours": {"pretrained_cfg__std": [0, 0, 0]},
    "colours that are no numbers": {"pretrained_cfg__mean": [float("nan")] * 3},
    "a crop of nothing": {"pretrained_cfg__crop_pct": 0},
    "a crop beyond the photo": {"pretrained_cfg__crop_pct": 1e-9},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_config_that_asks_for_too_much_is_refused(name, folder):
    change(folder, **CHANGES[name])
    refuse(folder)


@pytest.mark.parametrize(
    "text", [NESTED, "{" + NESTED, '{"a":' * 50_000, "\0", "9" * 10_000, "NaN", "", '"text"', "[]"]
)
def test_a_config_that_is_no_object_is_refused(text, folder):
    (folder / "config.json").write_text(text)
    refuse(folder, "config.json")


def test_a_config_of_a_gigabyte_is_refused_unread(folder):
    with (folder / "config.json").open("wb") as file:
        file.truncate(1_000_000_000)
    refuse(folder, f"more than {MAX_BYTES // 1_000_000} megabytes")


def test_sources_of_weights_in_a_config_are_not_followed(folder, tmp_path):
    trap = tmp_path / "trap.bin"
    trap.write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    for key, value in {
        "file": str(trap),
        "url": f"file://{trap}",
        "hf_hub_id": "evil/model",
        "source": "hf-hub",
        "custom_load": True,
    }.items():
        change(folder, **{f"pretrained_cfg__{key}": value})
    assert read_config(folder / "config.json").architecture == "test_resnet"
    model = FlowerClassifier.from_pretrained(folder, runtime="torch", device="cpu")
    assert not {"file", "url", "hf_hub_id", "source"} & set(model.network.pretrained_cfg)
    network = create_network(start_from(folder), 3)
    assert not (tmp_path / "owned").exists()
    name, expected = next(iter(load_file(folder / "model.safetensors").items()))
    assert torch.equal(network.state_dict()[name], expected.float())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.safetensors"])
def test_a_pickle_is_not_opened_to_answer_or_to_train(name, folder, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    refuse(folder, "model.safetensors")
    with pytest.raises(ModelError):
        create_network(start_from(folder), 3)
    assert not (tmp_path / "owned").exists()


def tensors_changed(folder, **tensors):
    path = folder / "model.safetensors"
    save_file({**load_file(path), **tensors}, path)


def test_a_tensor_of_another_network_is_named(folder):
    tensors_changed(folder, **{"evil.weight": torch.zeros(3)})
    refuse(folder, "evil.weight")


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_a_tensor_of_another_type_is_named(kind, folder):
    shape = load_file(folder / "model.safetensors")["fc.weight"].shape
    tensors_changed(folder, **{"fc.weight": torch.zeros(shape, dtype=kind)})
    refuse(folder, "fc.weight")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(number, folder):
    shape = load_file(folder / "model.safetensors")["fc.weight"].shape
    tensors_changed(folder, **{"fc.weight": torch.full(shape, number)})
    refuse(folder, "numbers that are none")


def test_an_answer_that_is_no_number_is_an_error_not_an_answer(folder, flower_photo):
    shape = load_file(folder / "model.safetensors")["fc.weight"].shape
    tensors_changed(folder, **{"fc.weight": torch.full(shape, 3e38)})
    model = FlowerClassifier.from_pretrained(folder, runtime="torch", device="cpu")
    with pytest.raises(ModelError, match="no number"):
        model.predict(flower_photo)


@pytest.mark.parametrize("lie", ["length", "offsets", "shape", "nesting"])
def test_a_header_that_lies_is_refused(lie, folder):
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
    refuse(folder, "model.safetensors")


def test_a_picture_that_is_none_is_left_out(folder):
    (folder / "reliability.png").write_bytes(b"<svg onload='alert(1)'/>")
    (folder / "training-curve.png").symlink_to("/etc/hostname")
    assert read_pictures(folder) == {}


MARKUP = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) **b** `c` | d"


def test_a_card_shows_labels_and_details_as_they_are():
    labels = (MARKUP, "rose")
    card = model_card(ModelConfig("test_resnet", labels, {MARKUP: MARKUP}))
    assert "\\<img src=x onerror=alert(1)\\>" in card and "\\*\\*b\\*\\*" in card
    for unescaped in ("<img", "[x](", "**b**", "`c`", "| d"):
        assert unescaped not in card.replace("\\" + unescaped[0], "")


@pytest.mark.parametrize("details", [{"recipe": 3}, {"recipe": {"data": 4}}, {"metrics": [5]}])
def test_a_card_leaves_out_details_that_make_no_sense(details):
    config = ModelConfig("test_resnet", ("rose", "tulip"))
    assert model_card(ModelConfig("test_resnet", ("rose", "tulip"), details=details)) == model_card(
        config
    )


def test_the_numbers_are_still_those_of_the_folder(tiny_folder, tiny_model, flower_photo):
    model = FlowerClassifier.from_pretrained(tiny_folder, runtime="torch", device="cpu")
    again = [p for _, p in model.predict(flower_photo).top]
    assert np.allclose(again, [p for _, p in tiny_model.predict(flower_photo).top], atol=0.01)
