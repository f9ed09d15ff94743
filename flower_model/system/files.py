"""Reads with a size limit, and atomic writes.

After SIGKILL, a full disk or a power failure, readers find either the complete old file or the
complete new one. Temporary files of interrupted writes are hidden and end in .tmp.
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
    """Return a file's content; of larger files the first `limit` + 1 bytes, so callers can tell.

    Raises:
        OSError: If the file can't be read.
        ValueError: If the path is malformed.
    """
    with path.open("rb") as file:
        # `read` allocates the requested size up front. Pipes and devices report a size of 0.
        size = os.fstat(file.fileno()).st_size or limit
        return file.read(min(size, limit) + 1)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path, whose file atomically replaces `path` on success.

    Raises:
        WriteError: If the file can't be written; `path` is unchanged.

    Example:
        >>> with atomic_path("metrics.csv") as temporary:
        ...     temporary.write_text("epoch,accuracy\\n")
    """
    path = Path(path)
    with _as_write_error(path):
        make_folder(path.parent)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp creates private files; give them the usual permissions instead.
            temporary.chmod(0o666 & ~_umask())
            sync(temporary)  # before the rename, or a power failure could leave an empty file
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill with `atomic_path`; on success it is renamed to `path`.

    Raises:
        WriteError: If the folder can't be written or `path` exists.
    """
    with _as_write_error(path):
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
    """Delete the temporary files of interrupted writes; no other process may write to `folder`."""
    for leftover in folder.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows can't open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_write_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors reports a full disk by an error of its Rust code
        reason = getattr(error, "strerror", None) or str(error).removeprefix(
            "Error while serializing: "
        )
        raise WriteError(
            f"'{path}' can't be written ({reason}). The previous version is intact."
        ) from None


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
