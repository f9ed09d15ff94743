"""Inference in int8: what it computes, when it is chosen, and the files that it refuses."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_sample_image

from flower_model import FlowerClassifier, FlowerModelError, ModelError
from flower_model.cli.common import PRECISIONS
from flower_model.quantization import (
    QUANTIZATION_FILE,
    find_quantization,
    save_quantization,
)
from flower_model.runtimes.base import Compute, Outputs, Precision
from flower_model.runtimes.devices import has_fast_int8
from flower_model.runtimes.openvino import resolve_precision
from flower_model.runtimes.pytorch import TorchRuntime
from flower_model.system.files import file_digest
from flower_model.system.tensors import WEIGHTS_SHA256
from tests.support.commands import ROOT, assert_one_sentence

CACHED_START = """
import sys
from flower_model import FlowerClassifier
model = FlowerClassifier.from_pretrained(sys.argv[1], device="cpu", precision="int8")
print(model.runtime.name, model.predict(sys.argv[2]).label)
print(*{"torch", "timm", "nncf", "openvino_telemetry"} & set(sys.modules))
"""


@pytest.fixture
def folder(quantized_folder, tmp_path) -> Path:
    return shutil.copytree(quantized_folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Crops of scikit-learn's two photos, (16, 160, 160, 3)."""
    rng, crops = np.random.default_rng(0), []
    for index in range(16):
        photo = load_sample_image(("flower.jpg", "china.jpg")[index % 2])
        top, left = rng.integers(0, 427 - 160), rng.integers(0, 640 - 160)
        crops.append(photo[top : top + 160, left : left + 160])
    return np.stack(crops)


def load(folder: Path, precision: Precision = "auto") -> FlowerClassifier:
    return FlowerClassifier.from_pretrained(folder, runtime="openvino", precision=precision)


def run(folder: Path, pixels: np.ndarray, precision: Precision = "int8") -> Outputs:
    return load(folder, precision).runtime(pixels)


def quantization_of(folder: Path):
    return find_quantization(folder, file_digest(folder / "model.safetensors"))


def assert_short(error: FlowerModelError) -> None:
    """Assert that a message is complete on one line."""
    assert len(str(error)) <= 300 and "…" not in str(error) and "\n" not in str(error)


# Outputs


def test_outputs_are_close_to_those_in_fp32(quantized_folder, pixels):
    found, expected = run(quantized_folder, pixels), run(quantized_folder, pixels, "fp32")
    assert not np.array_equal(found.logits, expected.logits)
    for ours, reference in zip(found, expected, strict=True):
        assert ours.shape == reference.shape and ours.dtype == np.float32
        assert np.linalg.norm(ours - reference) <= 0.1 * np.linalg.norm(reference)
    assert np.array_equal(found.logits.argmax(axis=1), expected.logits.argmax(axis=1))


def test_mean_of_the_activation_map_plus_bias_is_the_logit(quantized_folder, pixels):
    model = load(quantized_folder, "int8")
    outputs = model.runtime(pixels)
    logits = outputs.maps.mean(axis=(2, 3)) + model.network.fc.bias.detach().numpy()
    assert logits == pytest.approx(outputs.logits, rel=0.02, abs=0.3)


def test_two_compilations_return_the_same_outputs(quantized_folder, pixels, tmp_path, monkeypatch):
    outputs = []
    for name in "ab":
        monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / name))
        outputs.append(run(quantized_folder, pixels).logits)
    assert np.array_equal(*outputs)


def test_corrections_and_ranges_take_effect(folder, pixels):
    before, quantization = run(folder, pixels).logits, quantization_of(folder)
    name, values = next(iter(quantization.corrections.items()))
    changed = [
        replace(quantization, corrections={**quantization.corrections, name: values + 1}),
        replace(quantization, ranges={k: v / 4 for k, v in quantization.ranges.items()}),
    ]
    for other in changed:
        save_quantization(other, folder)
        assert np.abs(run(folder, pixels).logits - before).max() > 0.1


# Selection


def test_int8_is_chosen_where_it_is_faster_and_the_model_has_a_quantization(folder):
    fast = "int8" if has_fast_int8() else resolve_precision("auto")
    model = load(folder)
    assert model.runtime.compute == Compute("cpu", fast)
    assert model.runtime.name == f"OpenVINO on cpu, {fast}"
    (folder / QUANTIZATION_FILE).unlink()
    assert load(folder).runtime.compute.precision == resolve_precision("auto") != "int8"


def test_weights_that_changed_are_not_run_in_int8(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"fc.bias": tensors["fc.bias"] + 1}, folder / "model.safetensors")
    assert load(folder).runtime.compute.precision != "int8"
    with pytest.raises(ModelError, match="for its weights, which int8 needs") as caught:
        load(folder, "int8")
    assert_short(caught.value)


def test_int8_without_a_quantization_is_refused_in_one_sentence(tiny_folder):
    with pytest.raises(ModelError, match="training.quantize") as caught:
        load(tiny_folder, "int8")
    assert_short(caught.value)


def test_pytorch_refuses_int8(quantized_folder, tiny_model):
    with pytest.raises(FlowerModelError, match="needs the runtime openvino") as caught:
        FlowerClassifier.from_pretrained(quantized_folder, runtime="torch", precision="int8")
    assert_short(caught.value)
    with pytest.raises(FlowerModelError, match="needs the runtime openvino"):
        TorchRuntime(tiny_model.network, Compute("cpu", "int8"))


def test_commands_offer_every_precision():
    assert get_args(Precision) == PRECISIONS


def test_command_selects_the_precision(run_module, tiny_folder, quantized_folder, flower_photo):
    words = ("flower_model", flower_photo, "--precision", "int8", "--model")
    assert_one_sentence(run_module(*words, tiny_folder), "which int8 needs")
    assert run_module(*words, quantized_folder).returncode == 0


# Cache


def test_cached_start_imports_neither_torch_nor_nncf(quantized_folder, flower_photo):
    label = load(quantized_folder, "int8").predict(flower_photo).label
    command = [sys.executable, "-c", CACHED_START, str(quantized_folder), str(flower_photo)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert printed.stdout.splitlines() == [f"OpenVINO on cpu, int8 {label}", ""], printed.stderr


def test_each_precision_and_quantization_has_its_own_cache_entry(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    for precision in ("int8", "fp32", "int8"):
        load(folder, precision)
    quantization = quantization_of(folder)
    wider = {name: 2 * values for name, values in quantization.ranges.items()}
    save_quantization(replace(quantization, ranges=wider), folder)
    load(folder, "int8")
    assert len(list((tmp_path / "assets" / "flower_model" / "compiled").iterdir())) == 3


# The file


def test_file_keeps_the_quantization(folder, tmp_path):
    saved = quantization_of(folder)
    save_quantization(saved, tmp_path)
    loaded = find_quantization(tmp_path, saved.weights_sha256)
    assert loaded.digest() == saved.digest() and len(loaded.ranges) > 5
    assert (tmp_path / QUANTIZATION_FILE).read_bytes() == (folder / QUANTIZATION_FILE).read_bytes()


def test_three_libraries_read_a_quantized_folder(quantized_folder, pixels):
    from transformers import AutoModelForImageClassification

    ours = load(quantized_folder).network
    theirs = timm.create_model(f"local-dir:{quantized_folder}", pretrained=True).eval()
    third = AutoModelForImageClassification.from_pretrained(quantized_folder).eval()
    with torch.inference_mode():
        batch = torch.rand((2, 3, 160, 160), generator=torch.Generator().manual_seed(0))
        assert torch.equal(ours(batch), theirs(batch))
        assert torch.equal(ours(batch), third(batch).logits)


def test_saving_keeps_the_quantization_unless_the_weights_changed(quantized_folder, tmp_path):
    model = load(quantized_folder)
    model.save_pretrained(tmp_path)
    assert quantization_of(tmp_path).digest() == quantization_of(quantized_folder).digest()
    assert json.loads((tmp_path / "config.json").read_text())["flower_model"]["quantization"]
    model.network.fc.bias.data += 1
    model.save_pretrained(tmp_path)
    assert not (tmp_path / QUANTIZATION_FILE).exists()
    assert "quantization" not in json.loads((tmp_path / "config.json").read_text())["flower_model"]


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / QUANTIZATION_FILE)


def write(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    metadata = {WEIGHTS_SHA256: file_digest(folder / "model.safetensors")}
    save_file(tensors, folder / QUANTIZATION_FILE, metadata)


@pytest.mark.parametrize(
    "change",
    [
        {"act1.range": np.float32([0, 1, 2])},
        {"act1.range": np.float32([1, 2])},
        {"act1.range": np.float32([0, 0])},
        {"act1.range": np.float32([0, np.inf])},
        {"act1.range": np.float16([0, 1])},
        {"bn1.correction": np.full(64, np.nan, np.float32)},
        {"bn1.correction": np.zeros((8, 8), np.float32)},
        {"bn1.scale": np.zeros(64, np.float32)},
    ],
)
def test_invalid_tensors_are_refused_in_one_sentence(folder, change):
    write(folder, tensors_of(folder) | change)
    with pytest.raises(ModelError, match="doesn't contain a valid quantization") as caught:
        load(folder)
    assert_short(caught.value)


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 1000])
def test_damaged_file_is_refused_in_one_sentence(folder, content):
    (folder / QUANTIZATION_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="damaged or truncated") as caught:
        load(folder)
    assert_short(caught.value)


def test_enormous_file_is_refused_unread(folder):
    with (folder / QUANTIZATION_FILE).open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(ModelError, match="too large"):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"layer9.act1.range": np.float32([0, 1])},
        {"layer9.bn1.correction": np.zeros(64, np.float32)},
        {"act1.correction": np.zeros(64, np.float32)},
        {"bn1.correction": np.zeros(3, np.float32)},
    ],
)
def test_quantization_of_another_network_is_refused_in_one_sentence(folder, change):
    write(folder, tensors_of(folder) | change)
    with pytest.raises(ModelError, match="does not fit the network at") as caught:
        load(folder, "int8")
    assert_short(caught.value)
