"""Files read within bounds, and written so that nothing is lost whenever that is interrupted.

A process may be killed, the disk may be full, the power may go: what is read later is the old file
or the new one, whole. What a kill leaves behind is hidden and ends in .tmp.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from flower_model.errors import WriteError


def read_at_most(path: Path, limit: int) -> bytes:
    """A file's bytes; of one that has more than `limit` the first `limit` + 1, to tell it by.

    Raises:
        OSError: If it can't be read.
        ValueError: If no path can look like this.
    """
    with path.open("rb") as file:
        # `read` sets aside all that it is asked for. A pipe or a device says that it has nothing.
        size = os.fstat(file.fileno()).st_size or limit
        return file.read(min(size, limit) + 1)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path to write to; on success that file takes the place of `path` in one step.

    Raises:
        WriteError: If it can't be written; then `path` is what it was.

    Example:
        >>> with atomic_path("metrics.csv") as temporary:
        ...     temporary.write_text("epoch,accuracy\\n")
    """
    path = Path(path)
    with _told(path):
        make_folder(path.parent)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes private files; what we write is meant to be read like any other file.
            temporary.chmod(0o666 & ~_umask())
            sync(temporary)  # or a power cut could leave the new name on an empty file
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill with `atomic_path`; on success it becomes `path`.

    Raises:
        WriteError: If it can't be written or `path` is there already.
    """
    with _told(path):
        make_folder(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            sync(temporary)
            os.rename(temporary, path)
            sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left behind in a folder that no other process writes to."""
    for leftover in folder.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, so that a power cut does not take them away again."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file's (or a folder's) content is on the disk, where the system can say so."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle for a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors writes in Rust and tells of a full disk in its own words
        why = getattr(error, "strerror", None) or str(error).removeprefix(
            "Error while serializing: "
        )
        raise WriteError(f"'{path}' can't be written ({why}): what was there is kept.") from None


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
