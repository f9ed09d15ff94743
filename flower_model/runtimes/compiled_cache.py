"""Compiled networks on disk, so that only the first start has to make them."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import constants

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE
from flower_model.system.files import sync

FORMAT = 2  # of an entry; counts up when what it holds changes
KEPT = 8  # entries; the one not used for longest goes first
DAY = 86_400.0  # seconds; no process takes so long to write an entry
LIBRARIES = ("openvino", "timm", "torch")  # another version may compile something else


def cache_key(folder: Path, *how: str) -> str | None:
    """The name of what the files of a weights folder compile to, or None if one can't be read.

    Args:
        folder: A weights folder.
        how: What else the result depends on: precision, processor.

    Returns:
        A hexadecimal hash of the bytes of both files, the libraries' versions and `how`.
    """
    parts = [str(FORMAT), *how]
    for library in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            parts.append(f"{library} {importlib.metadata.version(library)}")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        try:
            with (folder / name).open("rb") as file:
                parts.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError:
            return None
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_entry(key: str) -> tuple[np.ndarray, Mapping[str, Any]] | None:
    """The compiled network (bytes,) uint8 and timm's data config, or None if there is no whole one.

    The array is mapped, not read: it must live as long as what is made of it.
    """
    entry = _folder() / key
    try:
        about = json.loads((entry / "about.json").read_text(encoding="utf-8"))
        # Copy-on-write: OpenVINO asks for memory that could be written to.
        blob = np.memmap(entry / "model.blob", np.uint8, "c")
        if hashlib.sha256(blob.data).hexdigest() != about["sha256"]:
            return None
        data_config = dict(about["data_config"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with suppress(OSError):
        os.utime(entry)  # used just now
    return blob, data_config


def write_entry(key: str, blob: bytes, data_config: Mapping[str, Any]) -> None:
    """Keeps a compiled network for the next start; where nothing can be written, that is no error.

    The entry appears in one step, and whole: several processes may write the same one at once.
    """
    about = {"sha256": hashlib.sha256(blob).hexdigest(), "data_config": dict(data_config)}
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=_folder()) as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            new.mkdir()
            (new / "model.blob").write_bytes(blob)
            (new / "about.json").write_text(json.dumps(about), encoding="utf-8")
            for path in (new / "model.blob", new / "about.json", new):
                sync(path)
            with suppress(FileNotFoundError):
                os.replace(_folder() / key, old)  # damaged, or another process was faster
            os.replace(new, _folder() / key)
        _tidy()
    except OSError:
        pass


def _tidy() -> None:
    folders = sorted(_folder().iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    unfinished = [path for path in folders if path.name.startswith(".")]
    entries = [path for path in folders if path not in unfinished]
    killed = [path for path in unfinished if path.stat().st_mtime < time.time() - DAY]
    for path in entries[KEPT:] + killed:
        shutil.rmtree(path, ignore_errors=True)


def _folder() -> Path:
    return Path(constants.HF_ASSETS_CACHE) / "flower_model" / "compiled"
