"""Photos of a unit: the names, and paths or contents, of files, Parquet rows and tar members."""

import os
import platform
import tarfile
from collections.abc import Generator, Iterator
from typing import Any

from flower_model.bulk.storage import is_uri, join, locate, read_photo, split_options
from flower_model.bulk.units import Unit
from flower_model.errors import DataError, ImageError, shorten
from flower_model.photos.discovery import SUFFIXES
from flower_model.photos.prefetch import prefetch_map
from flower_model.photos.sources import MAX_BYTES

Source = str | bytes | ImageError
"""A local path, the content of a photo, or the reason for which there is none."""

ROWS = 32  # of a Parquet file in memory
BUFFER = 1 << 20  # bytes of a Parquet column or a tar file that are read at once
READERS = 32  # concurrent downloads
AHEAD = 128  # downloads before their photos are decoded


def read_unit(unit: Unit, folder: str) -> Generator[tuple[str, Source]]:
    """Yield the name and the source of each photo.

    Names of photos in files are those of the unit; others are the file's name, # and the row or member.

    Args:
        unit: The photos.
        folder: The folder that relative paths start from.

    Raises:
        DataError: If a folder or storage can't be reached, so that no photo is to blame.
    """
    if not unit.file:
        yield from _read_photos(unit.photos, folder)
        return
    name = unit.file
    file = name if is_uri(name) else os.path.join(folder, name)
    try:
        if unit.column:
            yield from _read_rows(unit, file)
        else:
            yield from _read_members(name, file)
    except (tarfile.TarError, EOFError, ValueError) as error:  # also those of pyarrow
        yield name, ImageError(f"'{shorten(name, 100)}' is damaged ({shorten(error, 100)}).")
    except OSError as error:
        raise DataError(f"'{shorten(name, 100)}' can't be read ({shorten(error, 100)}).") from None


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
    import pyarrow.parquet as pq

    filesystem, path = locate(file)
    # Without pre_buffer, which would read whole row groups of photos into memory.
    with (
        filesystem.open_input_file(path) as opened,
        pq.ParquetFile(opened, buffer_size=BUFFER, pre_buffer=False) as table,
    ):
        row, groups = 0, []
        first = unit.stop
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if row < unit.stop and row + rows > unit.start:
                groups.append(group)
                first = min(first, row)
            row += rows
        row = first
        for batch in table.iter_batches(ROWS, row_groups=groups, columns=[unit.column]):
            for value in batch.column(0):
                if unit.start <= row < unit.stop:
                    yield _name_and_source(value.as_py(), unit.file, file, row)
                row += 1


def _name_and_source(value: Any, name: str, file: str, row: int) -> tuple[str, Source]:
    place = f"{name}#{row}"
    if isinstance(value, dict):  # the Image type of datasets: bytes, or a path
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return place, value
    if not value:
        return place, ImageError(f"Row {row} of '{shorten(name, 100)}' has no photo.")
    if is_uri(str(value)):
        return str(value), read_photo(str(value))
    path = str(value) if os.path.isabs(str(value)) else join(_parent(file), str(value))
    return str(value), read_photo(path) if is_uri(path) else path


def _parent(file: str) -> str:
    base, options = split_options(file)
    return os.path.dirname(base) + options


def _read_members(name: str, file: str) -> Iterator[tuple[str, Source]]:
    filesystem, path = locate(file)
    with (
        filesystem.open_input_stream(path, buffer_size=BUFFER) as stream,
        tarfile.open(fileobj=stream, mode="r|", bufsize=BUFFER) as tar,
    ):
        for member in tar:
            if member.isfile() and member.name.lower().endswith(SUFFIXES):
                content = tar.extractfile(member)
                yield f"{name}#{member.name}", content.read(MAX_BYTES + 1) if content else b""
