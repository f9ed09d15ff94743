"""python -m training.quantize, and the quantization at the end of a run and of training.calibrate."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flower_model import FlowerClassifier
from flower_model.quantization import QUANTIZATION_FILE, find_quantization
from flower_model.system.files import file_digest
from tests.support.drawn import COLOURS, draw_dataset, draw_photo
from tests.training.test_training import small_run
from training import quantize, train
from training.calibration.quantize import try_quantize_folder
from training.calibration.synthetic import as_photos


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("data") / "discs", photos_per_class=20)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """The weights folder of a run."""
    out = tmp_path_factory.mktemp("runs") / "discs"
    # Not the linear probe: untrained batch norm has no biases, which layers are found by.
    words = ["--set", "finetune.batch_norm='train'", "--set", "finetune.keep='last'"]
    assert train.main(small_run(data, out, *words)) == 0
    return out / "model"


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "model")


def quantization_of(folder: Path):
    return find_quantization(folder, file_digest(folder / "model.safetensors"))


def test_a_run_ends_with_a_quantization_that_fits_its_weights(trained):
    quantization = quantization_of(trained)
    assert len(quantization.corrections) >= 10
    details = json.loads((trained / "config.json").read_text(encoding="utf-8"))["flower_model"]
    assert 40 <= details["quantization"]["photos"] <= 60
    assert (trained / QUANTIZATION_FILE).stat().st_size < 100_000


def test_int8_and_fp32_name_new_photos_alike(trained):
    photos = [draw_photo(colour, 99_000 + n) for colour in COLOURS.values() for n in range(8)]
    labels = {
        precision: [
            answer.label
            for answer in FlowerClassifier.from_pretrained(
                trained, runtime="openvino", precision=precision
            ).predict(photos)
        ]
        for precision in ("int8", "fp32")
    }
    same = [a == b for a, b in zip(labels["int8"], labels["fp32"], strict=True)]
    assert sum(same) >= 21  # of 24; with AVX2 alone 22


def test_the_first_layer_and_the_head_stay_finer(trained):
    quantization = quantization_of(trained)
    network = FlowerClassifier.from_pretrained(trained, device="cpu").network
    assert "fc" not in quantization.corrections and "conv1.1" not in quantization.corrections
    assert set(quantization.corrections) < {name for name, _ in network.named_modules()}


def test_the_command_finds_the_same_quantization_again_and_leaves_all_else(folder, data, capsys):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / QUANTIZATION_FILE).unlink()
    assert quantize.main([str(folder), "--data", str(data)]) == 0
    assert "are computed in int8" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_missing_folder_is_refused_in_one_sentence(tmp_path, capsys):
    assert quantize.main([str(tmp_path / "nowhere")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "no weights folder" in line


def test_a_failure_is_reported_and_leaves_the_folder_as_it_was(folder, capsys):
    photos = as_photos([])  # none to find ranges with
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    try_quantize_folder(folder, photos)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("The quantization to int8 failed") and "not affected" in line
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_network_without_int8_layers_is_left_alone(tiny_folder, tmp_path, capsys):
    """An untrained network has no biases, which layers are found by."""
    folder = shutil.copytree(tiny_folder, tmp_path / "untrained")
    try_quantize_folder(folder, as_photos([np.zeros((160, 160, 3), np.uint8)]))
    assert capsys.readouterr().err == ""
    assert not (folder / QUANTIZATION_FILE).exists()
