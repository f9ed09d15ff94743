"""Temporary storage of uploads: a private folder whose files expire after minutes."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "flower-page-"
LOCK = ".in-use"
UPLOAD_SECONDS = 3600.0  # an unfinished upload is deleted after this time


@contextmanager
def upload_folder() -> Iterator[str]:
    """Create a temporary folder for uploads and delete it on exit.

    Folders of server processes that no longer run are deleted first. A running server holds a lock
    in its folder, which the operating system releases however the process ends.
    """
    _delete_abandoned(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder,
        FileLock(Path(folder) / LOCK),
    ):
        yield folder


def delete_expired(folder: Path, age: float, keep: Collection[Path] = ()) -> None:
    """Delete files that were uploaded more than `age` seconds ago, and empty folders.

    Args:
        folder: Gradio's upload folder: a subfolder per finished upload; files directly in `folder`
            are unfinished uploads and expire after `UPLOAD_SECONDS`.
        age: Seconds since the latest upload of the file.
        keep: Files that never expire.
    """
    now = time.time()
    for path in sorted(folder.rglob("*"), reverse=True):  # files before their folder
        try:
            if path.is_dir():
                if now - path.stat().st_ctime > 1:  # a younger one may be about to get its file
                    path.rmdir()
            elif path not in keep and path.name != LOCK:
                limit = UPLOAD_SECONDS if path.parent == folder else age
                if now - path.stat().st_ctime > limit:
                    path.unlink()
        except OSError:  # not empty, or deleted by somebody else meanwhile
            continue


def _delete_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            status = folder.lstat()
            ours = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if not (ours and stat.S_ISDIR(status.st_mode) and (folder / LOCK).is_file()):
                continue  # another user's folder, or one that is being created
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue
