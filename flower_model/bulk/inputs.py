"""Photos on the command line: files, folders, globs and URIs of photos, Parquet or tar files."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from flower_model.bulk.storage import (
    StoredFile,
    file_size,
    is_hidden,
    is_uri,
    list_files,
    split_options,
    storage_errors,
    without_answers,
)
from flower_model.bulk.units import MAX_PHOTOS, Unit, divide
from flower_model.errors import DataError, shorten
from flower_model.photos.discovery import NOT_A_PHOTO, SUFFIXES, find_photos

PARQUET, TAR = ".parquet", ".tar"
PATH_COLUMNS = ("photo", "image", "path", "file_name", "filename", "file", "uri", "url")
THREADS = 32  # for reading the footers of Parquet files


def find_units(
    names: Iterable[str], skipped: Counter[str], column: str | None = None
) -> list[Unit]:
    """Return the photos of all names in units, each photo once.

    In folders, photos take precedence over Parquet and tar files. Photos in local folders are
    detected by content, those at URIs by their suffix.

    Args:
        names: Paths, globs or URIs.
        skipped: Counts the skipped files of folders by kind.
        column: The column of Parquet files that has the photos; by default it is guessed.

    Raises:
        DataError: If a name can't be listed or has no photos, unlike others, or a Parquet file has
            no column of photos.
    """
    photos: dict[str, None] = {}  # ordered, each once
    shards: dict[str, None] = {}
    empty = []
    for name in names:
        found = [photo for file in _expand(name) for photo in _photos_in(file, skipped)]
        photos |= dict.fromkeys(f for f in found if not _is_shard(f))
        shards |= dict.fromkeys(f for f in found if _is_shard(f))
        if not found:
            empty.append(name)
    if empty and (photos or shards):  # the caller reports when there are no photos at all
        listed = shorten(", ".join(map(repr, empty)), 150)
        raise DataError(f"No photos found in {listed}: check the spelling, or leave it out.")
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(partial(_divide_shard, column=column), shards)
        return [*divide(list(photos)), *(unit for part in parts for unit in part)]


def _expand(name: str) -> list[str]:
    """Return the files and folders that match a glob, or the name itself."""
    pattern, options = split_options(name)
    if not re.search(r"[*?\[]", pattern) or os.path.lexists(name):
        return [name]
    if not is_uri(name):
        return sorted(glob.glob(name, recursive=True))
    folder = re.split(r"[*?\[]", pattern)[0].rpartition("/")[0]
    files = [(split_options(file)[0], file) for file in list_files(folder + options)]
    deep = "**" in pattern  # otherwise no * stands for a /
    return [
        file
        for base, file in files
        if fnmatchcase(base, pattern) and (deep or base.count("/") == pattern.count("/"))
    ]


def _photos_in(name: str, skipped: Counter[str]) -> list[str]:
    """Return the photos of a folder, or if there are none its Parquet and tar files."""
    if is_uri(name):
        files = list_files(name)
        photos = [file for file in files if split_options(file)[0].lower().endswith(SUFFIXES)]
        others = Counter({NOT_A_PHOTO: len(files) - len(photos)})
    elif os.path.isdir(name):
        photos = list(find_photos([name], others := Counter()))
        files = [] if photos else _files_in(name)
    else:
        return [name]
    found = photos or [file for file in files if _is_shard(file)]
    skipped.update(others if photos else {NOT_A_PHOTO: len(files) - len(found)})
    return found


def _files_in(folder: str) -> list[str]:
    """Return the files in a local folder at any depth, sorted; hidden ones are left out.

    Not by pyarrow, which rejects a folder for a single name that isn't UTF-8.
    """

    def stop(error: OSError) -> None:
        raise error

    with storage_errors(folder):
        files = without_answers(
            os.path.relpath(os.path.join(parent, name), folder)
            for parent, _, names in os.walk(folder, onerror=stop)
            for name in names
        )
    found = [os.path.join(folder, file) for file in sorted(files) if not is_hidden(file)]
    return list(filter(os.path.isfile, found))


def _is_shard(name: str) -> bool:
    return split_options(name)[0].lower().endswith((PARQUET, TAR))


def _divide_shard(file: str, column: str | None) -> list[Unit]:
    """Return a tar file as one unit, and a Parquet file in units of whole row groups or parts of one."""
    if split_options(file)[0].lower().endswith(TAR):
        return [Unit(file=file, size=file_size(file))]
    import pyarrow as pa
    import pyarrow.parquet as pq

    with storage_errors(file), pa.PythonFile(StoredFile(file), mode="r") as opened:
        metadata = pq.read_metadata(opened)
        schema = metadata.schema.to_arrow_schema()
    column = _photo_column(file, schema, column)
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    ends = list(_ends(groups))
    return [
        Unit(file=file, column=column, start=start, stop=stop)
        for start, stop in zip([0, *ends], ends, strict=False)
    ]


def _ends(groups: list[int]) -> Iterator[int]:
    """Yield the rows at which units end."""
    start = end = 0
    for rows in groups:
        if end > start and end + rows - start > MAX_PHOTOS:
            yield end
            start = end
        end += rows
        while end - start > MAX_PHOTOS:
            start += MAX_PHOTOS
            yield start
    if end > start:
        yield end


def _photo_column(file: str, schema: Any, column: str | None) -> str:
    """Return the column of encoded photos, alone or beside their paths, or else that of paths."""
    from pyarrow import types

    if column:
        if column in schema.names:
            return column
        raise DataError(
            f"'{shorten(file, 100)}' has no column '{shorten(column)}', only "
            f"{shorten(', '.join(schema.names), 100)}."
        )
    # The usual name first, in case that there are other binary columns.
    for field in sorted(schema, key=lambda field: field.name not in PATH_COLUMNS):
        kind = field.type
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return str(field.name)
        if types.is_binary(kind) or types.is_large_binary(kind):
            return str(field.name)
    for name in PATH_COLUMNS:
        if name in schema.names:
            return name
    raise DataError(
        f"'{shorten(file, 100)}' has no column of photos or paths, only "
        f"{shorten(', '.join(schema.names), 100)}: name one with --column."
    )
