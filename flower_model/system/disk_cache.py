"""Disk cache for compiled networks, decoded photos and fetched datasets, with one size limit for all.

An entry is a file or a folder. Its name identifies its content, for example by a hash, so entries are
never updated. They appear atomically, and the least recently used ones are evicted.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import constants

from flower_model.system.files import atomic_folder, atomic_path, try_lock

MAX_BYTES = 20e9  # of all entries together
ABANDONED = 86_400.0  # seconds since the last write, after which a temporary file's writer is gone

_pins: dict[Path, int] = {}  # entry -> descriptor that holds its lock until the process ends


def find_entry(kind: str, name: str, *, pin: bool = False) -> Path | None:
    """Return the path of an entry and mark it as just used, or None if there is no such entry.

    `pin` protects it from eviction until this process ends, which a file that is kept open or mapped
    does not need. `kind` is the kind of its content, such as "compiled".
    """
    path = cache_root() / kind / name
    if not path.exists():
        return None
    with suppress(OSError):
        os.utime(path)
    if pin:
        _pin(path)
    return path


@contextmanager
def new_entry(kind: str, name: str, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary file, or folder, that becomes the entry on success.

    An existing file is replaced. Other entries are evicted if the cache is then over its limit.

    Raises:
        WriteError: If the entry can't be written, or if it is a folder that already exists.
    """
    path = cache_root() / kind / name
    with (atomic_folder if folder else atomic_path)(path) as temporary:
        yield temporary
    with suppress(OSError):
        _evict(0, spare=path)


def has_room(size: float) -> bool:
    """Evict entries to make room, and return True if a new entry should be written.

    Args:
        size: Expected size of the new entry in bytes. It may use half of the free disk space.

    Raises:
        OSError: If the cache can't be created.
    """
    if size > MAX_BYTES:
        return False
    cache_root().mkdir(parents=True, exist_ok=True)
    _evict(size)
    return size <= shutil.disk_usage(cache_root()).free / 2


def cache_root() -> Path:
    """Return the folder of all entries, inside the Hub client's cache of derived files."""
    return Path(constants.HF_ASSETS_CACHE) / "flower_model"


def _evict(needed: float, spare: Path | None = None) -> None:
    entries = []
    for path in cache_root().glob("*/*"):
        with suppress(OSError):  # another process may evict at the same time
            size, changed = _measure(path)
            if path.name.startswith("."):  # temporary
                if changed < time.time() - ABANDONED:
                    _remove(path)
            else:
                entries.append((changed, size, path))
    total = needed + sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= MAX_BYTES:
            break
        if path != spare and not _is_pinned(path):
            with suppress(OSError):
                _remove(path)
                total -= size


def _measure(path: Path) -> tuple[int, float]:
    """Return the size in bytes and the time of the last change or use of a file or folder."""
    files = [path, *(path.rglob("*") if path.is_dir() else ())]
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max(stat.st_mtime for stat in stats)


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
        return
    # Deleting a folder takes time. Hide it first, so that no other process finds half an entry.
    hidden = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.tmp")
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _pin(path: Path) -> None:
    if path not in _pins:
        with suppress(OSError):  # Windows can't open folders
            _pins[path] = os.open(path, os.O_RDONLY)
            try_lock(_pins[path], shared=True)


def _is_pinned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)
