"""Photos named on the command line: single files, and the contents of folders."""

import os
from collections.abc import Iterable, Iterator

# Suffixes of photos inside folders. Decoding depends on content alone.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".heic", ".heif", ".hif"),
    *(".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
)


def find_photos(names: Iterable[str]) -> Iterator[str]:
    """Yield the given files, and the photos of the given folders at any depth, sorted by name.

    Hidden entries, links to folders and files without a photo's suffix are skipped. Memory use is
    one folder's listing per level of depth. A folder that can't be listed is yielded like a photo,
    so that opening it reports the reason.

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
