"""Files on disk, in object stores and on the Hugging Face Hub, by path or URI."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flower_model.errors import DataError, FlowerModelError, shorten

if TYPE_CHECKING:
    import pyarrow.fs

# Of a folder of answers. The underscore hides it from readers of Parquet folders.
RUN_FILE = "_flower_model.json"


class UnusableURI(DataError):
    """A URI is malformed, or of a kind that can't be opened here: no storage has failed."""


def is_uri(name: str) -> bool:
    """Return True for s3://bucket/key and the like."""
    return re.match(r"[a-zA-Z][\w+.-]*://", name) is not None


def locate(name: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    """Return the file system of a path or URI, and the path in it.

    pyarrow brings S3, Google Cloud Storage, Azure and HDFS; other URIs, such as hf://, are opened by
    fsspec. Keys in buckets may have any characters; they are not percent-encoded.

    Raises:
        UnusableURI: If there is no such file system.
        DataError: If it can't be reached.
    """
    from pyarrow.fs import LocalFileSystem

    if not is_uri(name):
        return LocalFileSystem(), os.path.abspath(name)
    with storage_errors(name):
        try:
            return _open_uri(name)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  # fsspec's file systems raise all kinds of errors
            raise UnusableURI(
                f"'{shorten(name, 100)}' can't be read: {reason_of(error)}."
            ) from None


def _open_uri(name: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    base, options = split_options(name)
    if bucket := re.match(r"(?:s3|gs|gcs)://([^/]*)", base):
        if not bucket[1]:
            raise ValueError("it has no bucket")
        return _open_bucket(bucket[0] + options), bucket[1] + base[bucket.end() :]
    try:
        filesystem, path = FileSystem.from_uri(name)
    except ValueError:  # unknown to pyarrow
        from fsspec.core import url_to_fs

        try:
            found, path = url_to_fs(name)
        except (FileNotFoundError, IsADirectoryError):  # zip:// and the like
            raise ValueError("the URI has no archive") from None
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
    except FlowerModelError:
        raise
    except Exception as error:  # noqa: BLE001  # those of fsspec include the HTTP client's
        raise DataError(f"'{shorten(name, 100)}' can't be {action}: {reason_of(error)}.") from None


def reason_of(error: Any) -> str:
    """Return the first line of a file system's error, for a sentence."""
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    found = re.search(r"AWS Error .*", text.splitlines()[0])
    return shorten(found[0] if found else text, 150).rstrip(".")


class StoredFile:
    """An open file, whose storage fails with a DataError.

    pyarrow's readers raise the same kinds of errors for damaged content as for storage that fails.
    """

    def __init__(self, name: str, *, stream: bool = False) -> None:
        """Open a file at a path or URI.

        Args:
            name: The path or URI.
            stream: It will be read from start to end.
        """
        self._name = name
        self._file: Any
        with storage_errors(name):
            if is_uri(name):
                filesystem, path = locate(name)
                opener = filesystem.open_input_stream if stream else filesystem.open_input_file
                self._file = opener(path)
            else:  # pyarrow would reject a name that isn't UTF-8
                self._file = open(name, "rb")  # noqa: SIM115

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        with storage_errors(self._name):
            return bytes(self._file.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Change the position, and return it."""
        with storage_errors(self._name):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return bool(self._file.closed)

    def close(self) -> None:
        """Close it."""
        self._file.close()


def list_files(name: str) -> list[str]:
    """Return the files below a URI at any depth, sorted, or the file itself; hidden ones are left out.

    Raises:
        DataError: If it doesn't exist or can't be listed.
    """
    from pyarrow.fs import FileSelector, FileType

    filesystem, path = locate(name)
    with storage_errors(name):
        if filesystem.get_file_info(path).type == FileType.File:
            return [name]
        files = filesystem.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    below = [f.path.removeprefix(path).lstrip("/") for f in files if f.type == FileType.File]
    if not below:
        raise DataError(f"'{shorten(name, 100)}' does not exist or is empty: check the name.")
    return [join(name, file) for file in sorted(without_answers(below)) if not is_hidden(file)]


def without_answers(files: Iterable[str]) -> list[str]:
    """Return the files, by paths below a folder, that are in no subfolder with answers of a cluster."""
    files = list(files)
    answers = tuple(f.removesuffix(RUN_FILE) for f in files if f.endswith(f"/{RUN_FILE}"))
    return [file for file in files if not file.startswith(answers)]


def file_size(name: str) -> int:
    """Return the size of a file at a path or URI in bytes.

    Raises:
        DataError: If it can't be read.
    """
    with storage_errors(name):
        if not is_uri(name):
            return os.path.getsize(name)
        filesystem, path = locate(name)
        return filesystem.get_file_info(path).size or 0


def is_hidden(path: str) -> bool:
    """Return True for a relative path with a part that starts with . or _, as readers of folders do."""
    return re.search(r"(^|/)[._]", path) is not None


def join(folder: str, name: str) -> str:
    """Return the name of a file in a folder; options such as ?region= stay at the end of a URI."""
    if not is_uri(folder):
        return os.path.join(folder, name)
    base, options = split_options(folder)
    return f"{base.rstrip('/')}/{name}{options}"


def upload(content: bytes, name: str) -> None:
    """Write a file at a URI, where it appears complete or not at all.

    Raises:
        DataError: If it can't be written.
    """
    filesystem, path = locate(name)
    with storage_errors(name, "written"), filesystem.open_output_stream(path) as target:
        target.write(content)
