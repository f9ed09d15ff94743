"""Rows of answers as a Parquet file, and back."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flower_model.errors import FlowerModelError
from flower_model.results.text_rows import COLUMNS, Row, flat_columns, flatten, to_bytes, unflatten
from flower_model.system.files import atomic_path

ROWS = 10_000  # of a row group, and in memory at a time


def write_parquet(path: Path, rows: Iterable[Row], top_k: int) -> None:
    """Writes rows under `flat_columns`; the file appears, or is replaced, in one step."""
    schema = _schema(top_k)
    rows = iter(rows)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        while group := [flatten(row, top_k) for row in islice(rows, ROWS)]:
            for row in group:  # Arrow's texts are UTF-8, as file names need not be
                row |= {"photo": _utf8(row["photo"]), "error": row["error"] and _utf8(row["error"])}
            writer.write_batch(pa.RecordBatch.from_pylist(group, schema))


def read_parquet(path: Path) -> Iterator[Row]:
    """The rows that `write_parquet` wrote.

    Raises:
        FlowerModelError: If the file was not written by it.
    """
    try:
        file = pq.ParquetFile(path)
        with file:
            top_k = (len(file.schema_arrow) - len(COLUMNS)) // 2 + 1
            if file.schema_arrow != _schema(top_k):
                raise _foreign(path)
            for batch in file.iter_batches(ROWS):
                yield from (unflatten(row, top_k) for row in batch.to_pylist())
    except (pa.ArrowException, ValueError, OSError):  # damaged, or of something else
        raise _foreign(path) from None


def _schema(top_k: int) -> pa.Schema:
    return pa.schema((name, _type(name)) for name in flat_columns(top_k))


def _type(column: str) -> pa.DataType:
    if column == "is_flower":
        return pa.bool_()
    return pa.float64() if "probability" in column else pa.string()


def _utf8(text: str) -> str:
    return to_bytes(text).decode()


def _foreign(path: Path) -> FlowerModelError:
    return FlowerModelError(f"'{path}' holds something else: choose another --output.")
