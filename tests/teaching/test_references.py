"""references.safetensors: written, carried along with unchanged weights, and refused when it doesn't fit."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from flower_model import FlowerClassifier, ModelError
from flower_model.serialization.references import (
    REFERENCES_FILE,
    References,
    load_references,
    save_references,
)
from flower_model.system.files import file_digest

WEIGHTS = "model.safetensors"
FEATURES = np.arange(40, dtype=np.float16).reshape(10, 4)
TARGETS = np.repeat(np.arange(5), 2)


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A weights folder with references of its five classes."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    save_references(References(FEATURES, TARGETS), folder, file_digest(folder / WEIGHTS))
    return folder


def load(folder):
    return load_references(folder, file_digest(folder / WEIGHTS), 5)


def write(folder, weights_sha256=None, **tensors):
    metadata = {"weights_sha256": weights_sha256 or file_digest(folder / WEIGHTS)}
    content = {"features": FEATURES, "targets": TARGETS} | tensors
    content = {key: value for key, value in content.items() if value is not None}
    save_file(content, folder / REFERENCES_FILE, metadata)


def test_saved_references_are_loaded(folder):
    loaded = load(folder)
    assert np.array_equal(loaded.features, FEATURES) and np.array_equal(loaded.targets, TARGETS)


def test_a_model_that_is_saved_elsewhere_takes_its_references_along(folder, tmp_path):
    FlowerClassifier.from_pretrained(folder).save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / REFERENCES_FILE).read_bytes() == (
        folder / REFERENCES_FILE
    ).read_bytes()
    assert len(load(tmp_path / "copy").targets) == 10


def test_a_model_with_changed_weights_loses_its_references(folder):
    model = FlowerClassifier.from_pretrained(folder)
    with torch.no_grad():
        model.network.get_classifier().bias.add_(1)
    model.save_pretrained(folder)
    assert not (folder / REFERENCES_FILE).exists()


def test_references_over_ten_megabytes_are_not_written(folder):
    large = References(np.zeros((5, 1_000_001), np.float16), np.arange(5))
    with pytest.raises(ModelError, match="don't fit into 10 MB"):
        save_references(large, folder, "")


def test_features_beyond_sixteen_bits_are_not_written(folder):
    with np.errstate(over="ignore"), pytest.raises(ModelError, match="in 16 bits"):
        save_references(References(np.full((5, 4), 1e6), np.arange(5)), folder, "")


BAD = {
    "NaN": {"features": np.full((10, 4), np.nan, np.float16)},
    "other type": {"features": FEATURES.astype(np.float32)},
    "other shape": {"features": FEATURES.reshape(10, 2, 2)},
    "too few targets": {"targets": TARGETS[:-1]},
    "class without photos": {"targets": np.zeros(10, np.int64)},
    "unknown class": {"targets": np.arange(10)},
    "negative class": {"targets": TARGETS - 1},
    "no targets": {"targets": None},
    "another tensor": {"others": TARGETS},
}


@pytest.mark.parametrize("tensors", BAD.values(), ids=BAD)
def test_inconsistent_references_are_refused_in_one_sentence(folder, tensors):
    write(folder, **tensors)
    with pytest.raises(ModelError, match="doesn't hold the features of 5 classes"):
        load(folder)


def test_references_of_other_weights_are_refused(folder):
    write(folder, weights_sha256="0" * 64)
    with pytest.raises(ModelError, match="made for other weights"):
        load(folder)


def test_missing_references_are_explained(folder):
    (folder / REFERENCES_FILE).unlink()
    with pytest.raises(ModelError, match=r"has no references.safetensors.* --references"):
        load(folder)


@pytest.mark.parametrize("size", [0, 7, 300])
def test_truncated_references_are_refused(folder, size):
    path = folder / REFERENCES_FILE
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match="damaged or truncated"):
        load(folder)


def test_references_of_a_size_that_nobody_writes_are_not_read(folder):
    with (folder / REFERENCES_FILE).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match="too large"):
        load(folder)
