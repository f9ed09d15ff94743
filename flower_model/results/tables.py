"""Results as CSV or Parquet tables; both are written atomically and can be read back."""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from flower_model.errors import FlowerModelError
from flower_model.results.rows import Row, flat_columns, flatten, top_k_of, unflatten
from flower_model.system.files import atomic_path

BOOLEANS = ("is_flower", "is_known")  # columns
SOURCE = "source"  # key in a Parquet file's metadata
BATCH = 10_000  # rows per Parquet row group, and in memory
# Spreadsheets would run such a cell, for example a file name, as a formula. It is written after a quote,
# and after one more if it begins with quotes itself, so that it can be read back.
FORMULA = re.compile(r"'*[=+\-@\t\r]")


def write_table(path: Path, rows: Iterable[Row], top_k: int, source: str = "") -> None:
    """Write rows to a .csv or .parquet file, which is replaced atomically; see `write_parquet`.

    Raises:
        WriteError: If the file can't be written.
    """
    flat = (flatten(row, top_k) for row in rows)
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            write_parquet(temporary, flat, top_k, source)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                write_csv(file, flat, top_k)


def write_csv(file: TextIO, flat: Iterable[Row], top_k: int) -> None:
    """Write rows in the form of `flatten` as CSV with a header, safe to open in a spreadsheet."""
    writer = csv.DictWriter(file, flat_columns(top_k))
    writer.writeheader()
    writer.writerows({name: _neutralize(cell) for name, cell in row.items()} for row in flat)


def write_parquet(
    target: Path | BinaryIO, flat: Iterator[Row], top_k: int, source: str = ""
) -> None:
    """Write rows in the form of `flatten` as Parquet, with `source` in the file's metadata."""
    import pyarrow as pa  # slow to import
    import pyarrow.parquet as pq

    schema = _schema(flat_columns(top_k)).with_metadata({SOURCE: source} if source else {})
    with pq.ParquetWriter(target, schema) as writer:
        while batch := list(islice(flat, BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def _neutralize(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def read_table(path: Path) -> Iterator[Row]:
    """Return an iterator of the rows that `write_table` wrote.

    Raises:
        FlowerModelError: If the file has other content; also during iteration.
        OSError: If the file can't be opened.
    """
    path.open("rb").close()
    return _read_rows(path)


def _read_rows(path: Path) -> Iterator[Row]:
    rows = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    try:
        yield from map(unflatten, rows)
    except (ValueError, LookupError, TypeError, OSError, csv.Error):  # also those of pyarrow
        raise FlowerModelError(f"'{path}' holds other data: choose another --output.") from None


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        columns = next(lines, [])
        _check_columns(columns)
        for cells in lines:
            row = dict(zip(columns, cells, strict=True))
            yield {name: _parse(name, cell) for name, cell in row.items()}


def _parse(column: str, cell: str) -> str | float | bool | None:
    if cell.startswith("'") and FORMULA.match(cell):
        cell = cell[1:]
    if column == "photo":
        return cell
    if not cell:
        return None
    if column in BOOLEANS:
        return {"True": True, "False": False}[cell]
    return float(cell) if "probability" in column else cell


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = file.schema_arrow.names
        _check_columns(columns)
        if file.schema_arrow != _schema(columns):
            raise ValueError("other types")
        for batch in file.iter_batches(BATCH):
            yield from batch.to_pylist()


def _schema(columns: list[str]) -> Any:
    import pyarrow as pa

    types = {name: pa.float64() if "probability" in name else pa.string() for name in columns}
    return pa.schema(types | dict.fromkeys(BOOLEANS, pa.bool_()))


def _check_columns(columns: list[str]) -> None:
    if columns != flat_columns(top_k_of(columns)):
        raise ValueError("other columns")
