"""The disk cache evicts by last use under one size limit and never shows a partial entry."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from flower_model.errors import WriteError
from flower_model.system import disk_cache
from flower_model.system.disk_cache import find_entry, has_room, new_entry
from tests.support.commands import ROOT


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Return the root of an empty cache."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path))
    return tmp_path / "flower_model"


def add_file(kind: str, name: str, size: int, age: float = 0) -> Path:
    with new_entry(kind, name) as temporary:
        temporary.write_bytes(bytes(size))
    path = disk_cache.cache_root() / kind / name
    os.utime(path, (time.time() - age,) * 2)
    return path


def add_folder(kind: str, name: str, size: int, age: float = 0) -> Path:
    with new_entry(kind, name, folder=True) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_bytes(bytes(size))
    path = disk_cache.cache_root() / kind / name
    for part in (path / "inner" / "file", path / "inner", path):
        os.utime(part, (time.time() - age,) * 2)
    return path


@pytest.mark.parametrize("add", [add_file, add_folder])
def test_entry_is_found_by_kind_and_name(add):
    path = add("one", "name", 10)
    assert find_entry("one", "name") == path
    assert find_entry("other", "name") is None
    assert find_entry("one", "other") is None


def test_failed_writer_leaves_nothing(cache):
    with pytest.raises(KeyboardInterrupt), new_entry("one", "name", folder=True) as temporary:
        (temporary / "part").touch()
        raise KeyboardInterrupt
    assert find_entry("one", "name") is None and list((cache / "one").iterdir()) == []


def test_unwritable_cache_raises_write_error(cache):
    cache.write_text("a file in place of the folder")
    with pytest.raises(WriteError), new_entry("one", "name"):
        pass


def test_least_recently_used_entry_of_any_kind_is_evicted(monkeypatch):
    monkeypatch.setattr(disk_cache, "MAX_BYTES", 200_000)
    oldest, used, newest = (
        add("kind", name, 60_000, age)
        for add, name, age in (
            (add_folder, "oldest", 300),
            (add_file, "used", 400),
            (add_file, "newest", 100),
        )
    )
    assert find_entry("kind", "used") == used  # used again: "oldest" is now least recently used
    added = add_file("another kind", "added", 60_000)
    assert not oldest.exists() and used.exists() and newest.exists() and added.exists()


def test_new_entry_larger_than_the_limit_evicts_everything_but_itself(monkeypatch):
    monkeypatch.setattr(disk_cache, "MAX_BYTES", 100_000)
    small = add_file("one", "small", 1000, age=10)
    large = add_folder("one", "large", 500_000)
    assert large.exists() and not small.exists()


def test_has_room_evicts_for_the_expected_size(monkeypatch):
    monkeypatch.setattr(disk_cache, "MAX_BYTES", 100_000)
    entry = add_file("one", "entry", 50_000)
    assert has_room(40_000) and entry.exists()
    assert not has_room(200_000) and entry.exists()
    assert has_room(60_000) and not entry.exists()


@pytest.mark.slow
def test_entry_pinned_by_another_process_is_not_evicted(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_cache, "MAX_BYTES", 100_000)
    pinned = add_folder("one", "pinned", 60_000, age=10)
    code = """if True:
        from flower_model.system.disk_cache import find_entry
        print(find_entry("one", "pinned", pin=True), flush=True)
        input()"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HF_ASSETS_CACHE": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline().strip() == str(pinned)
        os.utime(pinned, (time.time() - 10,) * 2)
        add_file("one", "first", 60_000, age=5)
        assert pinned.exists()
        other.communicate("\n")
    add_file("one", "second", 60_000)
    assert not pinned.exists()


def test_abandoned_temporary_files_are_deleted_after_a_day(cache):
    (cache / "one").mkdir(parents=True)
    old, recent = cache / "one" / ".old.tmp", cache / "one" / ".recent.tmp"
    old.mkdir()
    recent.touch()
    os.utime(old, (time.time() - 100_000,) * 2)
    add_file("one", "entry", 10)
    assert recent.exists() and not old.exists()
