"""Photos named on the command line: single files, and the contents of folders."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator

# Files with these suffixes count as photos whatever they contain, so that damaged and unreadable ones
# are reported.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".heic", ".heif", ".hif"),
    *(".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
# The first bytes of every format that `open_image` accepts; any other name may hide a photo.
SIGNATURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]"
    rb"|BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}|P[1-6]\s+[#\d]"
    rb"|....ftyp(hei[cxms]|hev[cxms]|mif[12]|msf1|avi[fs])",
    re.DOTALL,
)
NOT_A_PHOTO, HIDDEN, LINK = "not a photo", "hidden", "link to a folder"


def find_photos(names: Iterable[str], skipped: Counter[str] | None = None) -> Iterator[str]:
    """Yield the given files, and the photos of the given folders at any depth, sorted by name.

    Photos in folders are detected by content. Memory use is one folder's listing per level of
    depth. A folder that can't be listed is yielded like a photo, so that opening it reports the
    reason.

    Args:
        names: Files and folders.
        skipped: Counts the skipped entries of folders by kind.

    Example:
        >>> list(find_photos(["one.jpg", "album"]))
        ['one.jpg', 'album/a.png', 'album/b/c.jpg']
    """
    skipped = Counter() if skipped is None else skipped
    for name in names:
        if os.path.isdir(name):
            yield from _photos_in(name, skipped)
        else:
            yield name


def describe_skipped(skipped: Counter[str]) -> str:
    """Return for example "Skipped in folders: not a photo (3), hidden (1)."."""
    kinds = ", ".join(f"{kind} ({count})" for kind, count in skipped.items())
    return f"Skipped in folders: {kinds}."


def _photos_in(folder: str, skipped: Counter[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for entry in found:
        if entry.name.startswith("."):
            skipped[HIDDEN] += 1
        elif entry.is_dir(follow_symlinks=False):
            yield from _photos_in(entry.path, skipped)
        elif os.path.isdir(entry.path):  # unlike is_dir(), never raises
            skipped[LINK] += 1
        elif _is_photo(entry):
            yield entry.path
        else:
            skipped[NOT_A_PHOTO] += 1


def _is_photo(entry: os.DirEntry[str]) -> bool:
    has_suffix = entry.name.lower().endswith(SUFFIXES)
    try:
        if not stat.S_ISREG(os.stat(entry.path).st_mode):  # reading a pipe would block
            return False
    except PermissionError:  # in a folder that may be listed but not entered
        return has_suffix
    except OSError:  # a broken link
        return False
    if has_suffix:
        return True
    try:
        with open(entry.path, "rb", buffering=0) as file:
            return SIGNATURE.match(file.read(32)) is not None
    except OSError:
        return False
