"""Photos of a unit: the names, and paths or contents, of files, Parquet rows and tar members."""

import os
import platform
import tarfile
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from flower_model.bulk.downloads import read_photo
from flower_model.bulk.storage import StoredFile, UnusableURI, is_uri, join, split_options
from flower_model.bulk.units import Unit
from flower_model.errors import DataError, FlowerModelError, ImageError, shorten
from flower_model.photos.discovery import SUFFIXES
from flower_model.photos.prefetch import prefetch_map
from flower_model.photos.sources import MAX_BYTES

Source = str | bytes | ImageError
"""A local path, the content of a photo, or the reason for which there is none."""

ROWS = 32  # of a Parquet file in memory
BUFFER = 1 << 20  # bytes of a Parquet column or a tar file that are read at once
READERS = 32  # concurrent downloads
AHEAD = 128  # downloads before their photos are decoded
CUT_OFF = "it ends early"


def read_unit(unit: Unit, folder: str) -> Generator[tuple[str, Source]]:
    """Yield the name and the source of each photo.

    Names of photos in files are those of the unit; others are the file's name, # and the row or member.
    A Parquet file yields all rows of the unit, each once; a damaged tar file the members that are
    left, and an ImageError under its own name.

    Args:
        unit: The photos.
        folder: The folder that relative paths start from.

    Raises:
        DataError: If a folder or storage can't be reached, so that no photo is to blame.
    """
    if not unit.file:
        yield from _read_photos(unit.photos, folder)
        return
    file = unit.file if is_uri(unit.file) else os.path.join(folder, unit.file)
    yield from _read_rows(unit, file) if unit.column else _read_members(unit.file, file)


def _read_photos(names: tuple[str, ...], folder: str) -> Iterator[tuple[str, Source]]:
    paths = [name if is_uri(name) else os.path.join(folder, name) for name in names]
    for parent in {os.path.dirname(path) for path in paths if not is_uri(path)}:
        if not os.path.isdir(parent):
            raise DataError(
                f"The folder '{shorten(parent, 100)}' does not exist on machine {platform.node()}: "
                "put the photos on storage that all machines of the cluster share."
            )
    yield from zip(names, _fetch(paths), strict=True)


def _fetch(paths: list[str]) -> Iterator[Source]:
    """Yield local paths as they are, and the contents of URIs."""
    if not any(is_uri(path) for path in paths):
        yield from paths
        return
    yield from prefetch_map(
        lambda path: read_photo(path) if is_uri(path) else path,
        paths,
        ahead=AHEAD,
        threads=READERS,
    )


def _read_rows(unit: Unit, file: str) -> Iterator[tuple[str, Source]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.PythonFile(StoredFile(file), mode="r") as opened:
        try:
            # Without pre_buffer, which would read whole row groups of photos into memory.
            table = pq.ParquetFile(opened, buffer_size=BUFFER, pre_buffer=False)
        except FlowerModelError:  # of the storage
            raise
        except Exception as error:  # noqa: BLE001  # damage makes pyarrow raise all kinds of errors
            yield from _lost_rows(unit, unit.start, unit.stop, error)
            return
        end = 0
        for group in range(table.num_row_groups):
            start, end = end, end + table.metadata.row_group(group).num_rows
            if start < unit.stop and end > unit.start:
                yield from _read_group(table, group, start, end, unit, file)
        yield from _lost_rows(unit, max(end, unit.start), unit.stop, CUT_OFF)


def _read_group(
    table: Any, group: int, start: int, end: int, unit: Unit, file: str
) -> Iterator[tuple[str, Source]]:
    """Yield the rows of a row group, from `start` to `end`, that belong to the unit."""
    row, damage = start, CUT_OFF
    wanted = range(max(start, unit.start), min(end, unit.stop))
    try:
        for batch in table.iter_batches(ROWS, row_groups=[group], columns=[unit.column]):
            for scalar in batch.column(0):
                if row in wanted:
                    yield _name_and_source(scalar, unit.file, file, row)
                row += 1
    except FlowerModelError:  # of the storage
        raise
    except Exception as error:  # noqa: BLE001  # damage makes pyarrow raise all kinds of errors
        damage = str(error)
    yield from _lost_rows(unit, max(row, wanted.start), wanted.stop, damage)


def _lost_rows(unit: Unit, start: int, stop: int, why: object) -> Iterator[tuple[str, ImageError]]:
    reason = f"'{shorten(unit.file, 100)}' is damaged ({shorten(why, 100)})"
    for row in range(start, stop):
        yield f"{unit.file}#{row}", ImageError(f"Row {row} can't be read: {reason}.")


def _name_and_source(scalar: Any, name: str, file: str, row: int) -> tuple[str, Source]:
    place = f"{name}#{row}"
    try:
        value = _content_or_path(scalar)
    except Exception as error:  # noqa: BLE001  # pyarrow's, such as for text that isn't UTF-8
        reason = f"Row {row} of '{shorten(name, 100)}' can't be read ({shorten(error, 100)})."
        return place, ImageError(reason)
    if isinstance(value, bytes):
        return place, value
    if not value:
        return place, ImageError(f"Row {row} of '{shorten(name, 100)}' has no photo.")
    text = str(value)
    path = text if is_uri(text) or os.path.isabs(text) else join(_parent(file), text)
    return text, _read_path(path)


def _content_or_path(scalar: Any) -> Any:
    """Return a row's value; of the type Image of `datasets`, the bytes, or the path if there are none."""
    import pyarrow as pa

    if isinstance(scalar, pa.ExtensionScalar):
        scalar = scalar.value
    if not isinstance(scalar, pa.StructScalar):
        return scalar.as_py()
    if not scalar.is_valid:
        return None
    # One by one, because a path that isn't UTF-8 does no harm beside the bytes.
    fields = (scalar[name].as_py() for name in ("bytes", "path") if name in scalar)
    return next(filter(None, fields), None)


def _read_path(path: str) -> Source:
    if not is_uri(path):
        if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            return ImageError(f"'{shorten(path)}' is a pipe or device, not a photo.")
        return path
    try:
        return read_photo(path)
    except UnusableURI as error:  # this row's mistake, unlike storage that fails
        return ImageError(str(error))


def _parent(file: str) -> str:
    base, options = split_options(file)
    return os.path.dirname(base) + options


_tarfile: Any = tarfile  # its type stubs leave out the kinds of HeaderError


class _Member(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, archive: Any) -> Any:
        """Read the next member; damage is noted in the archive, which goes on after it."""
        parent: Any = super()
        try:
            member = parent.fromtarfile(archive)
        except _tarfile.EmptyHeaderError:  # no more bytes
            raise
        except _tarfile.EOFHeaderError:
            archive.has_end = True
            raise
        except (tarfile.HeaderError, ValueError) as error:
            archive.damage = archive.damage or str(error)
            raise _tarfile.InvalidHeaderError(str(error)) from None
        archive.has_end = False
        return member


class _Archive(tarfile.TarFile):
    """A tar file whose reading continues past damage, which tarfile would take for the end."""

    tarinfo = _Member
    ignore_zeros = True  # and blocks without a valid header
    damage = ""  # the first
    has_end = False  # after the last member


def _read_members(name: str, file: str) -> Iterator[tuple[str, Source]]:
    stored: Any = StoredFile(file, stream=True)
    try:
        with closing(stored), _Archive.open(fileobj=stored, mode="r|", bufsize=BUFFER) as archive:
            for member in archive:
                base = os.path.basename(member.name)
                # macOS adds a hidden twin of every file, ._photo.jpg.
                if base.startswith(".") or not base.lower().endswith(SUFFIXES):
                    continue
                place = f"{name}#{member.name}"
                if member.islnk():
                    reason = f"'{shorten(place, 150)}' is a hard link: pack it as a file"
                    yield place, ImageError(f"{reason}, by tar --hard-dereference.")
                elif member.isfile():
                    content = archive.extractfile(member)
                    yield place, content.read(MAX_BYTES + 1) if content else b""
            damage = archive.damage or ("" if archive.has_end else CUT_OFF)
    except (tarfile.TarError, EOFError, ValueError) as error:
        damage = str(error) or CUT_OFF
    if damage:
        yield name, ImageError(f"'{shorten(name, 100)}' is damaged ({shorten(damage, 100)}).")
