"""Files on disk, in object stores and on the Hugging Face Hub, by path or URI."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flower_model.errors import DataError, ImageError, shorten
from flower_model.photos.sources import MAX_BYTES

if TYPE_CHECKING:
    import pyarrow.fs

ATTEMPTS = 4  # to read a photo, after the file system's own ones


def is_uri(name: str) -> bool:
    """Return True for s3://bucket/key and the like."""
    return re.match(r"[a-zA-Z][\w+.-]*://", name) is not None


def locate(name: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    """Return the file system of a path or URI, and the path in it.

    pyarrow brings S3, Google Cloud Storage, Azure and HDFS; other URIs, such as hf://, are opened by
    fsspec. Keys in buckets may have any characters; they are not percent-encoded.

    Raises:
        DataError: If there is no such file system.
    """
    from pyarrow.fs import FileSystem, FSSpecHandler, LocalFileSystem, PyFileSystem

    if not is_uri(name):
        return LocalFileSystem(), os.path.abspath(name)
    with storage_errors(name):
        base, options = split_options(name)
        if bucket := re.match(r"(?:s3|gs|gcs)://([^/]+)", base):
            return _open_bucket(bucket[0] + options), bucket[1] + base[bucket.end() :]
        try:
            filesystem, path = FileSystem.from_uri(name)
        except ValueError:  # unknown to pyarrow
            from fsspec.core import url_to_fs

            found, path = url_to_fs(name)
            filesystem = PyFileSystem(FSSpecHandler(found))
        return filesystem, path


@lru_cache(maxsize=64)
def _open_bucket(uri: str) -> "pyarrow.fs.FileSystem":
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(uri)[0]  # looks up the bucket's region: a request


def split_options(name: str) -> tuple[str, str]:
    """Split a URI before its options, such as ?region=eu-west-1&endpoint_override=host:9000."""
    match = re.search(r"\?\w+=[^/?]*$", name) if is_uri(name) else None
    return (name[: match.start()], match[0]) if match else (name, "")


@contextmanager
def storage_errors(name: str, action: str = "read") -> Iterator[None]:
    """Convert a file system's errors into a DataError of one sentence."""
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError) as error:  # of pyarrow and fsspec
        raise DataError(f"'{shorten(name, 100)}' can't be {action}: {_reason(error)}.") from None


def list_files(name: str) -> list[str]:
    """Return the files in a folder at any depth, sorted, or the file itself; hidden ones are left out.

    Returns:
        Names as the one given: paths, or URIs.

    Raises:
        DataError: If it doesn't exist or can't be listed.
    """
    from pyarrow.fs import FileSelector, FileType

    filesystem, path = locate(name)
    with storage_errors(name):
        if filesystem.get_file_info(path).type == FileType.File:
            return [name]
        files = filesystem.get_file_info(
            FileSelector(path, recursive=True, allow_not_found=is_uri(name))
        )
    below = [f.path.removeprefix(path).lstrip("/") for f in files if f.type == FileType.File]
    if not below and is_uri(name):
        raise DataError(f"'{shorten(name, 100)}' does not exist or is empty: check the name.")
    return [join(name, file) for file in sorted(below) if not re.search(r"(^|/)[._]", file)]


def join(folder: str, name: str) -> str:
    """Return the name of a file in a folder; options such as ?region= stay at the end of a URI."""
    if not is_uri(folder):
        return os.path.join(folder, name)
    base, options = split_options(folder)
    return f"{base.rstrip('/')}/{name}{options}"


def read_photo(name: str) -> bytes | ImageError:
    """Read a photo from a URI; a photo that can't be read is an ImageError, returned.

    Raises:
        DataError: If the whole storage can't be reached, so that the photo isn't to blame.
    """
    filesystem, path = locate(name)
    for attempt in range(ATTEMPTS):
        try:
            with filesystem.open_input_stream(path) as file:
                return bytes(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return ImageError(f"'{shorten(name, 150)}' does not exist: check the path.")
        except PermissionError as error:
            return ImageError(f"'{shorten(name, 150)}' can't be read ({_reason(error)}).")
        except OSError as error:
            reason = _reason(error)
            if "ACCESS_DENIED" in str(error):
                break
            time.sleep(2**attempt - 1)
    with storage_errors(name):
        filesystem.get_file_info(path)
    return ImageError(f"'{shorten(name, 150)}' can't be read ({reason}).")


def upload(source: Path, name: str) -> None:
    """Copy a file to a URI, where it appears complete or not at all.

    Raises:
        DataError: If it can't be written.
    """
    filesystem, path = locate(name)
    with storage_errors(name, "written"), filesystem.open_output_stream(path) as target:
        target.write(source.read_bytes())


def _reason(error: Any) -> str:
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    found = re.search(r"AWS Error .*", text.splitlines()[0])
    return shorten(found[0] if found else text, 150).rstrip(".")
