"""Uploaded photos and zip archives of photos, read in memory and never trusted."""

import base64
import binascii
import io
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from flower_model.demo.zip_names import readable_names
from flower_model.errors import FlowerModelError, ImageError
from flower_model.photos.sources import MAX_BYTES
from flower_model.system.files import read_at_most

MAX_PHOTOS = 500  # per request
# Of photos for which browsers on some systems know no type.
PHOTO_SUFFIXES = [".heic", ".heif", ".avif", ".tif", ".tiff"]
MAX_DIRECTORY_BYTES = 2_000_000  # of a zip's central directory; 500 photos need a tenth
MAX_UNPACKED_BYTES = 1_000_000_000  # of all zip archives in a request
SEND_A_FILE = "Send the photo as a file, for example: curl -F photo=@photo.jpg HOST/api/identify"


@dataclass(frozen=True)
class Upload:
    """An uploaded file that should be a photo.

    Attributes:
        name: File name on the client's computer; text, never used as a path.
        read: Returns the bytes; raises ImageError if they are not available. Thread-safe.
        unpacked: Unpacked size in bytes of a zip member, otherwise 0.
    """

    name: str
    read: Callable[[], bytes]
    unpacked: int = 0


@contextmanager
def open_uploads(files: Sequence[Any]) -> Iterator[list[Upload]]:
    """List the photos among uploaded files, including those in zip archives.

    Only regular, visible members of an archive are listed. They are unpacked in memory when read;
    nothing is written to disk. An unusable archive is listed as one upload that raises.

    Args:
        files: Gradio's file objects {"path": …, "orig_name": …, …}, or base64 text.

    Raises:
        FlowerModelError: If there are more than `MAX_PHOTOS` photos.
    """
    with ExitStack() as archives:
        uploads: list[Upload] = []
        for number, file in enumerate(files, start=1):
            left = MAX_UNPACKED_BYTES - sum(upload.unpacked for upload in uploads)
            uploads += _list_photos(file, f"photo {number}", archives, left)
            if len(uploads) > MAX_PHOTOS:
                raise FlowerModelError(
                    f"A request may contain at most {MAX_PHOTOS} photos. Send them in parts."
                )
        yield uploads


def as_list(files: Any) -> list[Any]:
    """Return what a client sent in place of a list of files as a list."""
    return files if isinstance(files, list) else [files]


def read_upload(file: Any) -> bytes:
    """Return the bytes of a file that Gradio has received.

    Raises:
        ImageError: If it was not uploaded, or has expired.
    """
    try:
        path = _validated(file).path
        return read_at_most(Path(path), MAX_BYTES)  # open_image refuses more
    except (OSError, ValueError):
        raise _not_a_file(file) from None


def decode_photo(text: str) -> bytes:
    """Return the bytes of a base64-encoded photo, with or without a "data:" prefix.

    Raises:
        ImageError: If the text is a URL or is not base64.
    """
    if "://" in text[:4096].partition(",")[0]:
        raise ImageError("URLs are not fetched. Send the photo itself, base64-encoded.")
    content = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (ValueError, binascii.Error):
        raise ImageError("The text is not a photo. Send the photo base64-encoded.") from None


def not_a_photo(data: bytes) -> ImageError | None:
    """Return the error for a request of text in place of a photo, None if the bytes are not text."""
    try:
        text = data[:1000].decode("ascii").strip()
    except UnicodeDecodeError:
        return None
    if not text or "\0" in text:
        return None
    if text.startswith(("{", "[")):
        return ImageError(f"A photo is needed, not JSON. {SEND_A_FILE}")
    return _not_a_file(text)


def notice(error: FlowerModelError) -> gr.Error:
    """Return an error as the page shows it; Gradio renders the text as HTML."""
    return gr.Error(escape(str(error), quote=False), print_exception=False)


def _list_photos(file: Any, number: str, archives: ExitStack, left: int) -> list[Upload]:
    if isinstance(file, str):
        return [Upload(number, partial(decode_photo, file))]
    try:
        checked = _validated(file)
    except ValueError:
        return [_unreadable(number, _not_a_file(file))]
    name = checked.orig_name or Path(checked.path).name
    if name.lower().endswith(".zip"):
        return _list_members(name, checked.path, archives, left)
    return [Upload(name, partial(read_upload, file))]


def _validated(file: Any) -> FileData:
    # Gradio has checked the paths of objects with its mark, and of no others.
    marked = isinstance(file, dict) and isinstance(file.get("meta"), dict)
    if not marked:
        raise ValueError
    return FileData.model_validate(file, context={"validate_meta": True})


def _not_a_file(sent: Any) -> ImageError:
    """Return the error for something that is not an uploaded file."""
    if isinstance(sent, dict) and isinstance(sent.get("path"), str) and sent.get("meta"):
        return ImageError("The photo did not arrive. Send it again.")
    address = sent.get("url") if isinstance(sent, dict) else sent
    if isinstance(address, str) and "://" in address[:4096]:
        return ImageError(f"URLs are not fetched. {SEND_A_FILE}")
    kind = {str: "text", dict: "a JSON object", list: "a list", type(None): "null"}
    return ImageError(f"A photo is needed, not {kind.get(type(sent), 'a number')}. {SEND_A_FILE}")


def _list_members(name: str, path: str, archives: ExitStack, left: int) -> list[Upload]:
    """Return the photos of a zip archive, provided they unpack to at most `left` bytes."""
    try:
        file = archives.enter_context(_ZipFile(path))
        archive = archives.enter_context(zipfile.ZipFile(file))
        file.limit = None
        everything = archive.infolist()
        members = [
            (text, member)
            for text, member in zip(readable_names(everything), everything, strict=True)
            if _is_visible_file(text, member)
        ]
    except Exception:  # noqa: BLE001  # a damaged directory makes zipfile raise almost anything
        error = ImageError(f"'{_shorten(name)}' is damaged or not a zip archive. Create it again.")
        return [_unreadable(name, error)]
    if sum(member.file_size for _, member in members) > left:
        limit = MAX_UNPACKED_BYTES // 1_000_000_000
        subject = "unpacks" if left == MAX_UNPACKED_BYTES else "and the archives before it unpack"
        error = ImageError(
            f"'{_shorten(name)}' {subject} to more than {limit} GB. Send it in parts."
        )
        return [_unreadable(name, error)]
    if not members:
        return [_unreadable(name, ImageError(f"'{_shorten(name)}' contains no files."))]
    return [
        Upload(text, partial(_unpack, archive, member, text), member.file_size)
        for text, member in members
    ]


class _ZipFile(io.FileIO):
    """File that refuses to read an oversized central directory.

    Python creates an object per member, which takes a second for 50,000.
    """

    limit: int | None = MAX_DIRECTORY_BYTES  # per read

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None and size is not None and size > self.limit:
            raise zipfile.BadZipFile("central directory too long")
        return super().read(size) or b""


def _is_visible_file(name: str, member: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 if the archive was not made on Unix
    parts = name.split("/")
    # macOS adds a hidden twin of every file under __MACOSX/.
    hidden = parts[0] == "__MACOSX" or parts[-1].startswith(".")
    return not name.endswith("/") and kind in (0, stat.S_IFREG) and not hidden


def _shorten(name: str) -> str:
    line = " ".join(name.split())  # a member's name may have 65,535 characters and line breaks
    return line if len(line) <= 100 else f"…{line[-100:]}"


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> bytes:
    try:
        with archive.open(member) as file:
            data = file.read(MAX_BYTES + 1)  # the size in the directory may be wrong
    except Exception:  # noqa: BLE001  # a password, a bad checksum, an unknown or broken compression
        raise ImageError(
            f"'{_shorten(name)}' can't be unpacked: it is damaged or has a password."
        ) from None
    if len(data) > MAX_BYTES:
        limit = MAX_BYTES // 1_000_000
        raise ImageError(f"'{_shorten(name)}' is larger than {limit} MB. Reduce its size.")
    return data


def _unreadable(name: str, error: ImageError) -> Upload:
    def read() -> bytes:
        raise error

    return Upload(name, read)
