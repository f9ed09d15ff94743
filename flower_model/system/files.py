"""Reads with a size limit, locks, and atomic writes.

After SIGKILL, a full disk or a power failure, readers find either the complete old file or the
complete new one. Temporary files of interrupted writes are hidden and end in .tmp.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from safetensors import SafetensorError

from flower_model.errors import WriteError

# Read once: it can only be read by setting it, for all threads.
UMASK = os.umask(0o077)
os.umask(UMASK)


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


def file_digest(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file.

    Raises:
        OSError: If it can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def try_lock(file: int | IO[bytes], *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; return False if another process has locked it.

    Where files can't be locked, as on Windows and some network drives, nothing is done.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


@contextmanager
def atomic_path(path: Path | str, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path, whose content atomically becomes `path` on success.

    Args:
        path: The file to create or replace, or the folder to create.
        folder: Whether to yield a folder, to be filled with `atomic_path`.

    Raises:
        WriteError: If it can't be written, or the folder exists; `path` is unchanged.

    Example:
        >>> with atomic_path("metrics.csv") as temporary:
        ...     temporary.write_text("epoch,accuracy\\n")
    """
    path = Path(path)
    make = tempfile.mkdtemp if folder else _make_file
    try:
        make_folder(path.parent)
        temporary = Path(make(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield temporary
            # tempfile's permissions are private; set the usual ones instead.
            temporary.chmod((0o777 if folder else 0o666) & ~UMASK)
            sync(temporary)  # before the rename, or a power failure could leave an empty file
            os.replace(temporary, path)
            with suppress(OSError):  # the new version is there, whatever becomes of it
                sync(path.parent)
        finally:
            _delete(temporary)
    except (OSError, SafetensorError) as error:
        # safetensors reports a full disk by an error of its Rust code
        reason = getattr(error, "strerror", None) or str(error)
        reason = reason.removeprefix("Error while serializing: ")
        raise WriteError(
            f"'{path}' can't be written ({reason}). The previous version is intact."
        ) from None


atomic_folder = partial(atomic_path, folder=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of interrupted writes; no other process may write to `folder`."""
    for leftover in folder.glob(".*.tmp"):
        _delete(leftover)


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
    # Windows flushes only files that are open for writing.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_file(prefix: str, suffix: str, dir: Path) -> str:
    descriptor, name = tempfile.mkstemp(suffix, prefix, dir)
    os.close(descriptor)
    return name


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
