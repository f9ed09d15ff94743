"""Weights that others saved: loaded with the same logits as in timm, or refused with the reason."""

import json
import pickle
from collections.abc import Callable

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from flower_model import FlowerClassifier
from flower_model.config import read_config
from flower_model.serialization.network import load_network
from tests.serialization.timm_folders import (
    INPUTS,
    LABELS,
    WEIGHTS,
    assert_refused,
    assert_same_as_timm,
)

# Names and buffers of the weights


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."]
)
def test_prefixes_of_distributed_and_compiled_models(make_folder, flower_photo, prefix):
    assert_same_as_timm(make_folder(rename=lambda name: prefix + name), flower_photo)


@pytest.mark.parametrize("prefix", ["model.", "model.module.", "timm_model.", "model._orig_mod."])
def test_prefixes_that_timm_itself_does_not_know(make_folder, prefix):
    folder = make_folder(rename=lambda name: prefix + name)
    network = load_network(folder, read_config(folder / "config.json"))
    for name, tensor in load_file(folder / WEIGHTS).items():
        assert torch.equal(network.state_dict()[name.removeprefix(prefix)], tensor)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_byobnet", "test_efficientnet"])
def test_batch_norm_without_counters(make_folder, flower_photo, architecture):
    folder = make_folder(architecture, rename=lambda n: "" if n.endswith("tracked") else n)
    assert not any("tracked" in name for name in load_file(folder / WEIGHTS))
    assert_same_as_timm(folder, flower_photo)


def index_buffers(architecture: str) -> dict[str, torch.Tensor]:
    """The index buffers and attention masks that earlier versions of timm stored."""
    network = timm.create_model(architecture)
    return {
        name: buffer
        for name, buffer in network.named_buffers()
        if name.endswith(("relative_position_index", "attn_mask", "relative_coords_table"))
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"]
)
def test_index_buffers_of_earlier_versions(make_folder, flower_photo, architecture):
    extra = index_buffers(architecture)
    assert extra
    side = int(architecture[-3:])
    inputs = INPUTS | {"input_size": [3, side, side], "fixed_input_size": True}
    config = {"label_names": LABELS, "num_classes": 5, "pretrained_cfg": inputs}
    assert_same_as_timm(make_folder(architecture, config, extra=extra), flower_photo)


@pytest.mark.slow
def test_layer_names_of_the_original_swin(make_folder, flower_photo):
    def original(name: str) -> str:
        for stage in (1, 2, 3):
            name = name.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
        return name.replace("head.fc.", "head.")

    architecture = "swin_tiny_patch4_window7_224"
    extra = index_buffers(architecture)
    inputs = INPUTS | {"input_size": [3, 224, 224], "fixed_input_size": True}
    config = {"label_names": LABELS, "num_classes": 5, "pretrained_cfg": inputs}
    folder = make_folder(architecture, config, rename=original, extra=extra)
    assert_same_as_timm(folder, flower_photo)


def test_index_buffers_of_beit_are_dropped():
    from flower_model.serialization.checkpoint import convert_checkpoint, find_mismatch

    architecture = "beit_base_patch16_224"
    with torch.device("meta"):  # the smallest BEiT takes 350 MB
        network = timm.create_model(architecture, num_classes=5)
        tensors = network.state_dict() | {
            f"blocks.{n}.attn.relative_position_index": torch.empty(197, 197, dtype=torch.int64)
            for n in range(12)
        }
    converted = convert_checkpoint(tensors, network, architecture)
    assert converted is not None
    assert find_mismatch(converted, network, 5) is None


def test_position_embedding_of_another_size_is_resized(make_folder, flower_photo):
    folder = make_folder("test_vit", img_size=96)
    inputs = INPUTS | {"input_size": [3, 160, 160], "fixed_input_size": True}
    config = {"architecture": "test_vit", "label_names": LABELS, "pretrained_cfg": inputs}
    (folder / "config.json").write_text(json.dumps(config | {"num_classes": 5}))
    assert_same_as_timm(folder, flower_photo)


@pytest.mark.parametrize("name", ["backbone.conv1.weight", "loss.weight", "n_averaged"])
def test_tensors_of_something_else_are_named(make_folder, name):
    assert_refused(make_folder(extra={name: torch.zeros(1)}), name, "not part of the model")


def test_the_same_tensor_under_two_names_is_refused(make_folder):
    assert_refused(make_folder(extra={"module.fc.bias": torch.zeros(5)}), "two tensors")


def test_weights_without_tensors_are_refused(make_folder):
    folder = make_folder()
    save_file({}, folder / WEIGHTS)
    assert_refused(folder, "does not fit")


@pytest.mark.parametrize("labels", [LABELS[:2], [*LABELS, "poppy"], ["rose"]])
def test_labels_and_outputs_must_agree(make_folder, labels):
    config = {"label_names": labels, "num_classes": len(labels), "pretrained_cfg": INPUTS}
    assert_refused(make_folder(config=config), f"5 outputs for {len(labels)} labels")
    assert_refused(make_folder(config=config | {"num_classes": 5}), "label_names", "num_classes")
    inner = INPUTS | {"num_classes": 5}
    config = {"label_names": labels, "pretrained_cfg": inner}
    assert_refused(make_folder(config=config), "label_names", "num_classes")


# Folders without the weights


def lfs_pointer(folder, name):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 51234567\n"
    (folder / name).write_text(text)


def without_weights(*names: str) -> Callable:
    def change(folder):
        (folder / WEIGHTS).unlink()
        for name in names:
            (folder / name).write_bytes(pickle.dumps({"fc.weight": [0.0]}))

    return change


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda folder: lfs_pointer(folder, WEIGHTS), ["Git LFS pointer", "git lfs pull"]),
        (lambda folder: lfs_pointer(folder, "config.json"), ["Git LFS pointer", "config.json"]),
        (
            lambda folder: lfs_pointer(folder, "rejection.safetensors"),
            ["Git LFS pointer", "rejection.safetensors"],
        ),
        (without_weights("model.safetensors.index.json"), ["sharded"]),
        (without_weights("model-00001-of-00002.safetensors"), ["sharded"]),
        (without_weights("pytorch_model.bin"), ["pickle", "pytorch_model.bin"]),
        (without_weights("model_best.pth.tar"), ["pickle", "model_best.pth.tar"]),
        (without_weights("last.ckpt"), ["pickle", "last.ckpt"]),
        (without_weights("weights.safetensors"), ["weights.safetensors", "Rename"]),
        (without_weights(), ["no model.safetensors"]),
    ],
)
def test_folder_without_usable_weights_explains_why(make_folder, change, parts):
    folder = make_folder()
    change(folder)
    assert_refused(folder, *parts)


def test_file_in_place_of_a_folder_is_refused(make_folder):
    folder = make_folder()
    for name in (WEIGHTS, "config.json"):
        assert_refused(folder / name, "is a file", "Give the folder")
        assert_refused(str(folder / name), "is a file")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "~/model", "x" * 5000, "local-dir:nowhere"])
def test_missing_folder_is_named(tmp_path, name):
    path = name if ":" in name or name.startswith("~") else tmp_path / name
    assert_refused(path, "no model folder")


def test_prefix_of_timm_for_a_folder_is_accepted(make_folder):
    folder = make_folder()
    model = FlowerClassifier.from_pretrained(f"local-dir:{folder}", runtime="torch", device="cpu")
    assert model.labels == LABELS
