"""The disk cache of compiled networks speeds up the second start and never mixes up models."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from flower_model import FlowerClassifier, ModelError
from flower_model.runtimes.compiled_cache import HEADER, cache_key, read_entry, write_entry
from flower_model.serialization.digest import folder_digest
from tests.support.commands import ROOT

WITHOUT_TORCH = """
import sys
from flower_model import FlowerClassifier
answer = FlowerClassifier.from_pretrained(sys.argv[1], device="cpu").predict(sys.argv[2])
print(answer.label)
slow = {"torch", "torchvision", "timm", "scipy", "sklearn", "openvino_telemetry", "huggingface_hub.hf_api"}
print(*slow & set(sys.modules))
"""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Return the folder of the compiled networks in an empty cache."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets" / "flower_model" / "compiled"


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def predict(folder: Path, photo: Path) -> tuple[tuple[str, float], ...]:
    return FlowerClassifier.from_pretrained(folder, runtime="openvino").predict(photo).top


def test_second_start_does_not_import_torch(folder, flower_photo):
    label = predict(folder, flower_photo)[0][0]
    command = [sys.executable, "-c", WITHOUT_TORCH, str(folder), str(flower_photo)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.splitlines() == [label, ""]


def test_second_start_reuses_the_entry(cache, folder, flower_photo):
    first = predict(folder, flower_photo)
    [entry] = cache.iterdir()
    inode = entry.stat().st_ino
    assert predict(folder, flower_photo) == first
    assert [path.name for path in cache.iterdir()] == [entry.name]
    assert entry.stat().st_ino == inode


def test_changed_weights_with_the_same_size_and_time_are_noticed(cache, folder, flower_photo):
    before = predict(folder, flower_photo)
    weights = folder / "model.safetensors"
    times = weights.stat().st_atime_ns, weights.stat().st_mtime_ns
    tensors = load_file(weights)
    tensors["fc.bias"] = tensors["fc.bias"].flip(0) + 1
    save_file(tensors, weights, {"format": "pt"})
    os.utime(weights, ns=times)
    assert predict(folder, flower_photo) != before
    assert len(list(cache.iterdir())) == 2


def test_changed_transform_in_the_config_is_noticed(cache, folder, flower_photo):
    predict(folder, flower_photo)
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["pretrained_cfg"]["crop_pct"] = 0.5
    path.write_text(json.dumps(content))
    model = FlowerClassifier.from_pretrained(folder, runtime="openvino")
    assert model.photo_transform.crop == 0.5


def test_weights_damaged_after_the_first_start_are_rejected(cache, folder, flower_photo):
    predict(folder, flower_photo)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged or cut short"):
        predict(folder, flower_photo)


def truncate(content: bytearray) -> None:
    del content[-1000:]


def remove_blob(content: bytearray) -> None:
    del content[HEADER:]


def remove_everything(content: bytearray) -> None:
    content.clear()


def flip_a_bit(content: bytearray) -> None:
    content[(HEADER + len(content)) // 2] ^= 1


def garble_the_header(content: bytearray) -> None:
    content[:HEADER] = b"[]".ljust(HEADER)


@pytest.mark.parametrize(
    "damage", [truncate, remove_blob, remove_everything, flip_a_bit, garble_the_header]
)
def test_damaged_entry_is_rebuilt(cache, folder, flower_photo, damage):
    before = predict(folder, flower_photo)
    [entry] = cache.iterdir()
    content = bytearray(entry.read_bytes())
    damage(content)
    entry.write_bytes(content)
    assert read_entry(entry.name) is None
    assert predict(folder, flower_photo) == before
    assert read_entry(entry.name) is not None


def test_entry_of_another_openvino_build_is_rebuilt(cache, folder, flower_photo):
    before = predict(folder, flower_photo)
    [entry] = cache.iterdir()
    _, data_config = read_entry(entry.name)
    write_entry(entry.name, b"intact, but not readable by this OpenVINO", data_config)
    assert predict(folder, flower_photo) == before
    assert len(read_entry(entry.name)[0]) > 1000


def test_unwritable_cache_is_ignored(folder, flower_photo, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "file"))
    assert predict(folder, flower_photo)[0][1] > 0


def test_concurrent_writers_leave_one_intact_entry(cache):
    blobs = [bytes([i]) * 200_000 for i in range(8)]

    def write_and_read(blob: bytes) -> None:
        for _ in range(10):
            write_entry("key", blob, {})
            found = read_entry("key")
            assert found is None or bytes(found[0]) in blobs

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_and_read, blobs))
    assert bytes(read_entry("key")[0]) in blobs
    assert [path.name for path in cache.iterdir()] == ["key"]


def test_key_depends_on_file_content_and_settings(folder):
    key = cache_key(folder_digest(folder), "bf16")
    moved = shutil.copytree(folder, folder.parent / "moved")
    assert key == cache_key(folder_digest(moved), "bf16")
    assert key != cache_key(folder_digest(folder), "fp32")
    assert folder_digest(folder / "nowhere") == ""


def test_mapped_network_outlives_its_entry(cache):
    write_entry("key", b"blob" * 10_000, {})
    blob, _ = read_entry("key")
    shutil.rmtree(cache)
    assert np.array_equal(blob[:4], np.frombuffer(b"blob", np.uint8))
