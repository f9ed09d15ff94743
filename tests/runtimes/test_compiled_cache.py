"""The cache of compiled networks: a fast second start, and never another model's answers."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from flower_model import FlowerClassifier, ModelError
from flower_model.runtimes.compiled_cache import KEPT, cache_key, read_entry, write_entry
from tests.support.commands import ROOT

WITHOUT_TORCH = """
import sys
from flower_model import FlowerClassifier
answer = FlowerClassifier.from_pretrained(sys.argv[1], device="cpu").predict(sys.argv[2])
print(answer.label)
print(*{"torch", "torchvision", "timm", "scipy", "sklearn", "openvino_telemetry"} & set(sys.modules))
"""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; the folder of its entries."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets" / "flower_model" / "compiled"


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def answer(folder: Path, photo: Path) -> tuple[tuple[str, float], ...]:
    return FlowerClassifier.from_pretrained(folder, runtime="openvino").predict(photo).top


def test_the_second_start_imports_no_torch(folder, flower_photo):
    label = answer(folder, flower_photo)[0][0]
    command = [sys.executable, "-c", WITHOUT_TORCH, str(folder), str(flower_photo)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.splitlines() == [label, ""]


def test_the_second_start_converts_nothing(cache, folder, flower_photo):
    first = answer(folder, flower_photo)
    [entry] = cache.iterdir()
    made = (entry / "model.blob").stat().st_mtime_ns
    assert answer(folder, flower_photo) == first
    assert [path.name for path in cache.iterdir()] == [entry.name]
    assert (entry / "model.blob").stat().st_mtime_ns == made


def test_other_weights_of_the_same_size_and_time_get_their_own_answer(cache, folder, flower_photo):
    before = answer(folder, flower_photo)
    weights = folder / "model.safetensors"
    times = weights.stat().st_atime_ns, weights.stat().st_mtime_ns
    tensors = load_file(weights)
    tensors["fc.bias"] = tensors["fc.bias"].flip(0) + 1
    save_file(tensors, weights, {"format": "pt"})
    os.utime(weights, ns=times)
    assert answer(folder, flower_photo) != before
    assert len(list(cache.iterdir())) == 2


def test_another_transform_in_the_config_is_taken(cache, folder, flower_photo):
    answer(folder, flower_photo)
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["pretrained_cfg"]["crop_pct"] = 0.5
    path.write_text(json.dumps(content))
    assert FlowerClassifier.from_pretrained(folder, runtime="openvino").crop == 0.5


def test_weights_damaged_after_the_first_start_are_refused(cache, folder, flower_photo):
    answer(folder, flower_photo)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged or cut short"):
        answer(folder, flower_photo)


def cut_short(entry: Path) -> None:
    blob = entry / "model.blob"
    blob.write_bytes(blob.read_bytes()[:-1000])


def empty(entry: Path) -> None:
    (entry / "model.blob").write_bytes(b"")


def flip_a_bit(entry: Path) -> None:
    blob = bytearray((entry / "model.blob").read_bytes())
    blob[len(blob) // 2] ^= 1
    (entry / "model.blob").write_bytes(blob)


def lose_what_it_is(entry: Path) -> None:
    (entry / "about.json").unlink()


def garble_what_it_is(entry: Path) -> None:
    (entry / "about.json").write_text("[]")


@pytest.mark.parametrize(
    "damage", [cut_short, empty, flip_a_bit, lose_what_it_is, garble_what_it_is]
)
def test_a_damaged_entry_is_made_again(cache, folder, flower_photo, damage):
    before = answer(folder, flower_photo)
    [entry] = cache.iterdir()
    damage(entry)
    assert read_entry(entry.name) is None
    assert answer(folder, flower_photo) == before
    assert read_entry(entry.name) is not None


def test_an_entry_of_another_build_is_made_again(cache, folder, flower_photo):
    before = answer(folder, flower_photo)
    [entry] = cache.iterdir()
    _, data_config = read_entry(entry.name)
    write_entry(entry.name, b"whole, but nothing that this OpenVINO reads", data_config)
    assert answer(folder, flower_photo) == before
    assert len(read_entry(entry.name)[0]) > 1000


def test_a_cache_that_can_not_be_written_is_no_error(folder, flower_photo, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "file"))
    assert answer(folder, flower_photo)[0][1] > 0


def test_processes_that_write_at_once_leave_one_whole_entry(cache):
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


def test_the_entry_unused_for_longest_goes_first(cache):
    for i in range(KEPT):
        write_entry(f"entry {i}", b"blob", {})
        os.utime(cache / f"entry {i}", (time.time() - 100 + i,) * 2)
    assert read_entry("entry 0") is not None
    write_entry("one more", b"blob", {})
    assert {path.name for path in cache.iterdir()} == {
        "one more",
        *(f"entry {i}" for i in range(KEPT) if i != 1),
    }


def test_what_a_killed_process_left_goes_after_a_day(cache):
    for name, age in ((".new", 60), (".old", 100_000)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (time.time() - age,) * 2)
    write_entry("key", b"blob", {})
    assert {path.name for path in cache.iterdir()} == {"key", ".new"}


def test_the_key_is_of_the_bytes_and_of_how_they_are_compiled(folder):
    key = cache_key(folder, "bf16")
    assert key == cache_key(shutil.copytree(folder, folder.parent / "moved"), "bf16")
    assert key != cache_key(folder, "f32")
    assert cache_key(folder / "nowhere") is None


def test_an_array_from_the_cache_outlives_its_entry(cache):
    write_entry("key", b"blob" * 10_000, {})
    blob, _ = read_entry("key")
    shutil.rmtree(cache)
    assert np.array_equal(blob[:4], np.frombuffer(b"blob", np.uint8))
