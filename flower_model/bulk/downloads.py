"""Downloads of single photos, which distinguish an unreadable photo from failing storage."""

import errno
import time
from typing import TYPE_CHECKING

from flower_model.bulk.storage import UnusableURI, locate, reason_of, split_options, storage_errors
from flower_model.errors import ImageError, shorten
from flower_model.photos.sources import MAX_BYTES

if TYPE_CHECKING:
    import pyarrow.fs

ATTEMPTS = 4  # to read a photo, after the file system's own ones
BAD_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)  # of a local path, not of its disk
MAX_KEY = 1024  # bytes; S3 answers longer keys like any request after a token's end, with 400


def read_photo(name: str) -> bytes | ImageError:
    """Read a photo from a URI, or return an ImageError for an unreadable photo.

    Raises:
        UnusableURI: If there is no such file system.
        DataError: If the whole storage can't be reached, so that the photo isn't to blame.
    """
    filesystem, path = _locate_photo(name)
    if _is_too_long(filesystem, path):
        return ImageError(f"'{shorten(name, 150)}' can't be read (the name is too long).")
    for attempt in range(ATTEMPTS):
        try:
            with _open_stream(filesystem, path) as file:
                return bytes(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return ImageError(f"'{shorten(name, 150)}' does not exist: check the path.")
        # A name that the file system rejects has a ValueError, or from fsspec a NotImplementedError.
        except (PermissionError, ValueError, NotImplementedError) as error:
            return ImageError(f"'{shorten(name, 100)}' can't be read ({reason_of(error)}).")
        except Exception as error:  # noqa: BLE001  # those of fsspec include the HTTP client's
            reason = reason_of(error)
            if getattr(error, "errno", None) in BAD_PATH:
                return ImageError(f"'{shorten(name, 100)}' can't be read ({reason}).")
            if "ACCESS_DENIED" in str(error):
                break
            time.sleep(2**attempt - 1)
    with storage_errors(name):
        filesystem.get_file_info(path)
    return ImageError(f"'{shorten(name, 100)}' can't be read ({reason}).")


def _locate_photo(name: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    """Locate a photo whose key may end like options, as in photo.jpg?width=300."""
    try:
        return locate(name)
    except UnusableURI:
        base, options = split_options(name)
        if not options:
            raise
        filesystem, path = locate(base)
        return filesystem, path + options


def _is_too_long(filesystem: "pyarrow.fs.FileSystem", path: str) -> bool:
    key = path.partition("/")[2].encode(errors="replace")
    return filesystem.type_name in ("s3", "gcs") and len(key) > MAX_KEY


def _open_stream(filesystem: "pyarrow.fs.FileSystem", path: str) -> "pyarrow.NativeFile":
    from pyarrow.fs import PyFileSystem

    try:
        return filesystem.open_input_stream(path)
    except FileNotFoundError:
        # fsspec takes any failure for a missing file, and has the reason only for who asks further.
        if isinstance(filesystem, PyFileSystem) and filesystem.get_file_info(path).is_file:
            return filesystem.open_input_stream(path)
        raise
