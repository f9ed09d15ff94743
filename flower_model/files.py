"""Writing that can be interrupted at any moment without losing what was there before."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path to write to; on success that file takes the place of `path` in one step.

    Example:
        >>> with atomic_path("metrics.csv") as temporary:
        ...     temporary.write_text("epoch,accuracy\\n")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        # mkstemp makes private files; what we write is meant to be read like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file's (or a folder's) content is on the disk, where the system can say so."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle for a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
