"""Where a page keeps what visitors send, for minutes: a folder of its own, gone when the page ends."""

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
UNFINISHED = 3600.0  # seconds that an upload may take


@contextmanager
def upload_folder() -> Iterator[str]:
    """Makes a page's folder, deletes it at the end, and those of pages that were killed before.

    One that serves holds a lock in its folder, which its system lets go of however it ends.
    """
    _delete_left_behind(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder,
        FileLock(Path(folder) / LOCK),
    ):
        yield folder


def sweep(folder: Path, age: float, keep: Collection[Path] = ()) -> int:
    """Deletes the files in Gradio's folder that came longer ago than `age` seconds, and empty folders.

    Args:
        folder: Holds a folder for each file; a file in `folder` itself is an upload that has not
            ended, and may stay for `UNFINISHED` seconds.
        age: In seconds since the file came, or came again.
        keep: Files to leave.

    Returns:
        How many files are left.
    """
    left, now = 0, time.time()
    for path in sorted(folder.rglob("*"), reverse=True):  # files before the folder that holds them
        try:
            if path.is_dir():
                if now - path.stat().st_ctime > 1:  # or it was made for a file that comes now
                    path.rmdir()
            elif path in keep or path.name == LOCK:
                continue
            elif now - path.stat().st_ctime > (UNFINISHED if path.parent == folder else age):
                path.unlink()
            else:
                left += 1
        except OSError:  # not empty, or deleted by somebody else meanwhile
            continue
    return left


def _delete_left_behind(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            about = folder.lstat()
            ours = not hasattr(os, "getuid") or about.st_uid == os.getuid()
            if not (ours and stat.S_ISDIR(about.st_mode) and (folder / LOCK).is_file()):
                continue  # somebody else's, or just being made
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue
