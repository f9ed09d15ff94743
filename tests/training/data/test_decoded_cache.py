"""The decoded-photo cache: hits, sharing between processes, eviction and failure."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from flower_model.system import disk_cache
from tests.support.commands import ROOT
from tests.support.drawn import draw_dataset
from training.data import decoded_cache
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.folders import read_photo_folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "flower_model" / "decoded"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = draw_dataset(tmp_path / "discs", 4)
    (folder / "red disc" / "broken.jpg").write_bytes(b"no photo")
    return folder


def decode(folder: Path, short_side: int = 40, use_cache: bool = True) -> DecodedPhotos:
    return decode_photos(
        read_photo_folder(folder).splits[""], short_side, "decoding", cache=use_cache
    )


def same(one: DecodedPhotos, other: DecodedPhotos) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(one.image(i), other.image(i)) for i in range(len(one))
    )


def test_cached_images_equal_decoded_photos(cache, folder):
    decode(folder)
    assert len(list(cache.iterdir())) == 1
    assert same(decode(folder), decode(folder, use_cache=False))


def test_second_run_opens_no_photo(cache, folder, monkeypatch):
    first = decode(folder)
    good = [
        photo for photo in read_photo_folder(folder).splits[""] if photo.path.name != "broken.jpg"
    ]
    monkeypatch.setattr(
        "training.data.decoded._decode", lambda *_, **__: pytest.fail("opened a photo")
    )
    assert same(decode(folder), first) and len(first) == len(good)


def test_unreadable_photo_is_reported_on_a_cache_hit_too(cache, folder):
    for decoded in (decode(folder), decode(folder)):
        assert len(decoded.skipped) == 1 and "broken.jpg" in decoded.skipped[0]
        assert all(photo.path.name != "broken.jpg" for photo in decoded.photos)


def test_moved_photos_hit_the_cache_and_changed_ones_miss_it(cache, folder, tmp_path):
    decode(folder)
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    decode(moved)
    assert len(list(cache.iterdir())) == 1
    shutil.copy(next((moved / "blue disc").iterdir()), moved / "blue disc" / "new.png")
    decode(moved)
    decode(moved, short_side=32)
    assert len(list(cache.iterdir())) == 3


def test_file_larger_than_the_limit_is_not_cached_and_evicts_nothing(cache, folder, monkeypatch):
    decode(folder, 24)
    kept = list(cache.iterdir())
    monkeypatch.setattr(disk_cache, "MAX_BYTES", kept[0].stat().st_size)
    assert same(decode(folder), decode(folder, use_cache=False))
    assert list(cache.iterdir()) == kept


def test_unwritable_cache_is_ignored(cache, folder):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    decoded = decode(folder)
    assert same(decoded, decode(folder, use_cache=False)) and len(decoded.skipped) == 1


def test_damaged_file_is_rewritten(cache, folder):
    decode(folder)
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:500])
    assert same(decode(folder), decode(folder, use_cache=False))


@pytest.mark.slow
def test_mapped_images_are_pickled_as_a_path(cache, folder):
    decoded = decode(folder)
    sent = pickle.dumps(decoded.images)
    assert len(sent) < 1000
    code = """import pickle, sys
pictures = pickle.load(sys.stdin.buffer)
print(sum(int(picture.sum()) for picture in pictures if picture is not None))"""
    there = subprocess.run(
        [sys.executable, "-c", code], input=sent, cwd=ROOT, capture_output=True, check=True
    )
    here = sum(int(picture.sum()) for picture in decoded.images if picture is not None)
    assert int(there.stdout) == here


def test_images_span_several_record_batches(cache):
    pictures = [np.full((2, 3, 3), i % 256, np.uint8) for i in range(2 * decoded_cache.ROWS + 5)]
    kept = decoded_cache.save_images("many.arrow", pictures, 0)
    assert kept is not None and len(kept) == len(pictures)
    for index in (0, decoded_cache.ROWS - 1, decoded_cache.ROWS, len(pictures) - 1):
        assert np.array_equal(kept[index], pictures[index])
