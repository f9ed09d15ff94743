"""Content of photos given as paths, bytes or file objects."""

import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from flower_model.errors import ImageError
from flower_model.system.files import read_at_most

PhotoSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray
)

MAX_BYTES = 100_000_000  # per file; files are read into memory whole
FILE_LOCK = threading.Lock()  # two threads may be given the same file object


def read_source(source: object) -> tuple[bytes, str]:
    """Return the content of an encoded photo and its name at the start of messages.

    Raises:
        ImageError: If the source can't be read or is of another type.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "The file"
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        try:
            return read_at_most(Path(path), MAX_BYTES), f"'{path}'"
        except (OSError, ValueError) as error:
            raise ImageError(_path_problem(path, error)) from None
    if callable(getattr(source, "read", None)):
        with FILE_LOCK:
            return _read_file(source), "The file"
    advice = ""
    if hasattr(source, "__array__"):  # a tensor, for example
        advice = " Convert it to an array first."
    elif hasattr(source, "__iter__"):
        advice = " Pass several photos as a list."
    raise ImageError(
        "A photo must be a path, bytes, a binary file, a PIL image or a uint8 array, "
        f"not {type(source).__name__}.{advice}"
    )


def several_photos(photos: Iterable[PhotoSource]) -> Iterable[PhotoSource]:
    """Return photos that threads can read later, whatever their iterator does with its objects then.

    Raises:
        ImageError: If `photos` is one photo, whose rows or bytes would pass as several.
    """
    if (
        isinstance(photos, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)
        or callable(getattr(photos, "read", None))
        or (isinstance(photos, np.ndarray) and has_photo_shape(photos))
    ):
        raise ImageError("Several photos are expected, not one photo by itself: pass a list.")
    return photos if isinstance(photos, list | tuple | np.ndarray) else _copy_reused(photos)


def _copy_reused(photos: Iterable[PhotoSource]) -> Iterator[PhotoSource]:
    previous: tuple[object, int] = (None, 0)
    for photo in photos:
        if isinstance(photo, np.ndarray):  # which may be the buffer of the next photo too
            yield photo.copy()
            continue
        if isinstance(photo, Image.Image):
            if photo is previous[0] and photo.tell() != previous[1]:
                raise ImageError("An iterator yields one picture for all frames: yield its copy().")
            previous = (photo, photo.tell())
        yield photo


def has_photo_shape(array: np.ndarray) -> bool:
    """Return True for the shapes (height, width), (height, width, 3) and (height, width, 4)."""
    return array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))


def describe_text(data: bytes) -> str:
    """Describe text that was passed in place of a photo, and what to do; "" if it is none of these."""
    text = data[:1000].decode("latin-1").lstrip()
    if _is_base64(text):
        return "is base64 text: decode it and pass the bytes."
    if text.startswith("data:"):
        return "is a data URL: decode its base64 part and pass the bytes."
    if re.match(r"<(!doctype html|html|head|body)", text, re.IGNORECASE):
        return "is a web page, not a photo: save the image itself."
    if text.startswith("version https://git-lfs"):
        return "is a Git LFS pointer, not a photo: run git lfs pull."
    return ""


def _is_base64(text: str) -> bool:
    """Return True for a text in the alphabet of base64, and of a length that few paths have."""
    return re.fullmatch(r"[\w+/=\s-]{200,}", text, re.ASCII) is not None


def _path_problem(path: str, error: OSError | ValueError) -> str:
    if path.startswith("data:"):
        return "A data URL is not a path: decode its base64 part and pass the bytes."
    if re.match(r"[a-zA-Z][\w+.-]*://", path):
        return f"'{path}' is a URL, which is not downloaded: pass a path or the file's bytes."
    if _is_base64(path):
        return "The text is base64, not a path: decode it and pass the bytes."
    if not path:
        return "The path is empty: pass the path of a photo."
    if isinstance(error, FileNotFoundError):
        return f"'{path}' does not exist: check the path."
    if isinstance(error, IsADirectoryError):
        return f"'{path}' is a folder: pass the photos in it."
    reason = error.strerror if isinstance(error, OSError) else error
    return f"'{path}' can't be read ({reason})."


def _read_file(file: Any) -> bytes:
    seekable = getattr(file, "seekable", None)
    parts: list[bytes] = []
    left = MAX_BYTES + 1
    try:
        if seekable and seekable():
            file.seek(0)  # callers often pass a buffer that they have just written
        # Unbuffered streams, for example of a process, return what is there.
        while isinstance(part := file.read(left), bytes) and part and left > 0:
            parts.append(part)
            left -= len(part)
    except UnicodeDecodeError:  # text mode
        part = None
    except (OSError, ValueError) as error:
        raise ImageError(
            f"The file object can't be read ({error}): open it again, with mode 'rb'."
        ) from None
    if not isinstance(part, bytes):
        raise ImageError("The file object must be binary: open it with mode 'rb'.")
    return b"".join(parts)
