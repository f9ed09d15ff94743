"""Disk cache of compiled networks, so that only the first start converts and compiles."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from flower_model.errors import WriteError
from flower_model.system.disk_cache import find_entry, new_entry

KIND = "compiled"
FORMAT = 3  # increment when the content of an entry changes
LIBRARIES = ("openvino", "timm", "torch")  # another version may compile something else
HEADER = 65_536  # bytes before the blob, a multiple of the page size so that it can be mapped


def cache_key(*settings: str) -> str:
    """Return a hexadecimal hash of library versions and of what else a compiled network depends on."""
    parts = [str(FORMAT), *settings]
    for library in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            parts.append(f"{library} {importlib.metadata.version(library)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_entry(key: str) -> tuple[np.ndarray, Mapping[str, Any]] | None:
    """Return a compiled network and timm's data config, or None if there is no intact entry.

    The network is a memory-mapped array (bytes,) uint8 that must outlive everything made from it.
    """
    try:
        if (path := find_entry(KIND, key)) is None:
            return None
        with path.open("rb") as file:
            header = json.loads(file.read(HEADER))
        # Copy-on-write, because OpenVINO requires writable memory.
        blob = np.memmap(path, np.uint8, "c", offset=HEADER)
        if hashlib.sha256(blob.data).hexdigest() != header["sha256"]:
            return None
        return blob, dict(header["data_config"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_entry(key: str, blob: bytes, data_config: Mapping[str, Any]) -> None:
    """Store a compiled network. An unwritable cache is not an error."""
    header = {"sha256": hashlib.sha256(blob).hexdigest(), "data_config": dict(data_config)}
    with suppress(WriteError), new_entry(KIND, key) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(header).encode().ljust(HEADER))
        file.write(blob)
