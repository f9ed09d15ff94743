"""The photos that a command line names: files as they are, folders with all that is in them."""

import os
from collections.abc import Iterable, Iterator

# What the name of a folder's photo ends in. Once it is opened, only what it holds matters.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".heic", ".heif", ".hif"),
    *(".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
)


def find_photos(names: Iterable[str]) -> Iterator[str]:
    """Every name that is no folder, and in place of a folder its photos, at any depth, by name.

    Hidden files and folders, links to folders and what has no photo's suffix are left out. One
    folder's names are held in memory at a time, for each level of depth. A folder that can't be
    read is given as if it were a photo: opening it tells what is wrong.

    Example:
        >>> list(find_photos(["one.jpg", "album"]))
        ['one.jpg', 'album/a.png', 'album/b/c.jpg']
    """
    for name in names:
        if os.path.isdir(name):
            yield from _photos_in(name)
        else:
            yield name


def _photos_in(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, entry.is_dir())
                for entry in entries
                if not entry.name.startswith(".")
                and (entry.is_dir(follow_symlinks=False) or _is_photo(entry))
            )
    except OSError:
        yield folder
        return
    for name, is_folder in found:
        path = os.path.join(folder, name)
        if is_folder:
            yield from _photos_in(path)
        else:
            yield path


def _is_photo(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and entry.is_file()
