"""Files that visitors send: photos, and zips of photos, read in memory and never trusted."""

import base64
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

from flower_model.errors import FlowerModelError, ImageError
from flower_model.system.files import read_at_most

MAX_PHOTOS = 500  # in one go
MAX_PHOTO_BYTES = 100_000_000  # of one photo in a zip
MAX_ZIP_LIST = 2_000_000  # bytes of a zip's list of what it holds: 500 photos need a tenth
MAX_ZIP_BYTES = 1_000_000_000  # of all that the zips of one question unpack to


@dataclass(frozen=True)
class Upload:
    """A photo that has come, but may not be one.

    Attributes:
        name: The file's name on the visitor's computer: text, never to be used as a path.
        read: Gives its bytes; raises ImageError if they can't be had. May be called in a thread.
        unpacked: Bytes that it unpacks to, if it lies in a zip.
    """

    name: str
    read: Callable[[], bytes]
    unpacked: int = 0


@contextmanager
def open_uploads(files: Sequence[Any]) -> Iterator[list[Upload]]:
    """Lists the photos among uploaded files, those in zips too.

    Only regular, visible members of a zip count, and they are unpacked in memory, each when it is
    read: whatever their names, nothing is written. A zip that can't be used is one upload that raises.

    Args:
        files: As Gradio gives them, {"path": …, "orig_name": …, …}, or texts as an MCP client sends
            them in a list: addresses, or "data:…;base64,…".

    Raises:
        FlowerModelError: If there are more than `MAX_PHOTOS`.
    """
    with ExitStack() as archives:
        uploads: list[Upload] = []
        for number, sent in enumerate(files, start=1):
            left = MAX_ZIP_BYTES - sum(upload.unpacked for upload in uploads)
            uploads += _uploads(sent, f"photo {number}", archives, left)
            if len(uploads) > MAX_PHOTOS:
                raise FlowerModelError(
                    f"These are more than {MAX_PHOTOS} photos: send them in several parts."
                )
        yield uploads


def read_upload(file: Any) -> bytes:
    """The bytes of an uploaded file.

    Raises:
        ImageError: If it is not there, or is not one that came through Gradio's upload.
    """
    try:
        return read_at_most(Path(_checked(file).path), MAX_PHOTO_BYTES)  # more, open_image refuses
    except (OSError, ValueError):
        raise _not_arrived() from None


def _uploads(sent: Any, number: str, archives: ExitStack, left: int) -> list[Upload]:
    if isinstance(sent, str):
        return [Upload(number, partial(_decode, sent))]
    try:
        file = _checked(sent)
    except ValueError:
        return [_refused(number, _not_arrived())]
    name = file.orig_name or Path(file.path).name
    if name.lower().endswith(".zip"):
        return _zipped(name, file.path, archives, left)
    return [Upload(name, partial(read_upload, sent))]


def _checked(sent: Any) -> FileData:
    # Gradio has checked the path of whatever carries its mark, and of nothing else.
    return FileData.model_validate(sent, context={"validate_meta": True})


def _decode(address: str) -> bytes:
    """What an MCP client means by a text; for a single file, but not in a list, Gradio reads it."""
    start, _, content = address.partition(",")
    if "://" in start:
        raise ImageError("Send the photo itself: nothing is fetched from an address.")
    if not start.startswith("data:"):
        raise _not_arrived()
    try:
        return base64.b64decode(content, validate=True)
    except ValueError:
        raise _not_arrived() from None


def _not_arrived() -> ImageError:
    return ImageError("The photo did not arrive: send it again.")


def notice(error: FlowerModelError) -> gr.Error:
    """What a visitor sees of an error; Gradio shows a notice as HTML."""
    return gr.Error(escape(str(error), quote=False), print_exception=False)


def _zipped(name: str, path: str, archives: ExitStack, left: int) -> list[Upload]:
    """The members of a zip, if they unpack to no more bytes than are `left`."""
    try:
        file = archives.enter_context(_ZipFile(path))
        archive = archives.enter_context(zipfile.ZipFile(file))
        file.most = None
        members = [member for member in archive.infolist() if _is_file(member)]
    except Exception:  # noqa: BLE001  # zipfile raises whatever a damaged list makes it raise
        error = ImageError(f"'{name}' is damaged or no zip file: make it again.")
        return [_refused(name, error)]
    if sum(member.file_size for member in members) > left:
        limit = MAX_ZIP_BYTES // 1_000_000_000
        what = "unpacks" if left == MAX_ZIP_BYTES else "and the zips before it unpack"
        error = ImageError(f"'{name}' {what} to more than {limit} GB: send its photos in parts.")
        return [_refused(name, error)]
    if not members:
        return [_refused(name, ImageError(f"'{name}' holds no files."))]
    return [
        Upload(member.filename, partial(_unpack, archive, member), member.file_size)
        for member in members
    ]


class _ZipFile(io.FileIO):
    """A zip whose list of members is not read if it is longer than any of `MAX_PHOTOS` photos.

    Python makes an object of each, which takes a second for 50,000.
    """

    most: int | None = MAX_ZIP_LIST  # bytes in one read

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most is not None and size is not None and size > self.most:
            raise zipfile.BadZipFile("too long a list")
        return super().read(size) or b""


def _is_file(member: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the zip was not made on Unix
    parts = member.filename.split("/")
    # macOS adds a hidden twin of every file, under __MACOSX/.
    hidden = parts[0] == "__MACOSX" or parts[-1].startswith(".")
    return not member.is_dir() and kind in (0, stat.S_IFREG) and not hidden


def _shown(name: str) -> str:
    # A zip's names may have 65,535 letters, and lines.
    line = " ".join(name.split())
    return line if len(line) <= 200 else f"…{line[-200:]}"


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            data = file.read(MAX_PHOTO_BYTES + 1)  # its header may lie about its size
    except Exception:  # noqa: BLE001  # a password, a bad checksum, an unknown or broken compression
        raise ImageError(
            f"'{_shown(member.filename)}' can't be unpacked: it is damaged or has a password."
        ) from None
    if len(data) > MAX_PHOTO_BYTES:
        limit = MAX_PHOTO_BYTES // 1_000_000
        raise ImageError(
            f"'{_shown(member.filename)}' is larger than {limit} MB: make it smaller first."
        )
    return data


def _refused(name: str, error: ImageError) -> Upload:
    def read() -> bytes:
        raise error

    return Upload(name, read)
