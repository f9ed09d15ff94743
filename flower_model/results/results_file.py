"""A file of answers, one row a photo, with which a run that was stopped or killed can go on."""

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from flower_model.errors import FlowerModelError, ImageError
from flower_model.results.text_rows import (
    COLUMNS,
    CommaSeparated,
    JsonLines,
    Row,
    to_bytes,
    to_row,
    whole_records,
)
from flower_model.system.files import atomic_path, sync

if TYPE_CHECKING:
    from flower_model.prediction import Prediction


def check_output(path: Path) -> None:
    """Refuses what can't become a file of answers, before anything is computed for it.

    Raises:
        FlowerModelError: If the suffix tells no format or there is no such folder.
    """
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise FlowerModelError(f"'{path}' must end in .csv, .jsonl or .parquet.")
    if not path.parent.is_dir():
        raise FlowerModelError(f"There is no folder '{path.parent}' to write '{path.name}' into.")


class AnswerFile:
    """Rows of answers, each with the system as soon as it is written.

    A .csv or .jsonl file grows by whole rows; what a kill cut short is removed when the file is
    opened again. A .parquet file can't grow: its rows are kept beside it, in a .parquet.jsonl,
    until `finish` makes one of the other in one step.

    Attributes:
        rows: How many rows it holds.
        failures: How many of them tell of a photo that can't be opened.
        errors: What the first of these tell, at most LISTED.

    Example:
        >>> with AnswerFile(Path("answers.csv"), model="resnet50-0123", top_k=5) as answers:
        ...     for photo in photos:
        ...         if not answers.holds(photo):
        ...             answers.write(photo, model.predict(photo))
        ...     answers.finish()
    """

    LISTED = 20

    def __init__(self, path: Path, *, model: str, top_k: int) -> None:
        """Begins a file or goes on with one.

        Args:
            path: Ends in .csv, .jsonl or .parquet.
            model: What tells the model from others; it stands in every row.
            top_k: Labels in a row, at least 1.

        Raises:
            FlowerModelError: If the file can't be read or written, another process is writing
                it, it holds something else, or it was begun with another model or top_k.
        """
        self.path = path
        self.model = model
        self.rows = 0
        self.failures = 0
        self.errors: list[str] = []
        self._found: Counter[str] = Counter()
        self._form = CommaSeparated(top_k) if path.suffix == ".csv" else JsonLines(top_k)
        self._is_parquet = path.suffix == ".parquet"
        self._journal = path.with_name(f"{path.name}.jsonl") if self._is_parquet else path
        try:
            if self._is_parquet and path.exists() and not self._journal.exists():
                self._restore_journal()
            self._file = self._journal.open("ab", buffering=0)
            _lock(self._file.fileno(), path)
            self._go_on()
        except OSError as error:
            self._fail(error)

    def holds(self, photo: str) -> bool:
        """Whether the file held a row of `photo` when opened; each such row answers once."""
        name = to_bytes(photo).decode()
        if not self._found[name]:
            return False
        self._found[name] -= 1
        return True

    def write(self, photo: str, answer: "Prediction | ImageError") -> None:
        """Adds a row.

        Raises:
            FlowerModelError: If it can't be written, as on a full disk.
        """
        self._count(str(answer) if isinstance(answer, ImageError) else "")
        self._append(self._form.encode(to_row(photo, answer, self.model)))

    def finish(self) -> None:
        """Says that all rows are there."""
        try:
            sync(self._journal)
            if self._is_parquet:
                from flower_model.results.parquet import (
                    write_parquet,  # with pyarrow, once it is needed
                )

                with self._journal.open("rb") as lines:
                    write_parquet(self.path, map(self._form.decode, lines), self._form.top_k)
                self._journal.unlink()
        except OSError as error:
            self._fail(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _go_on(self) -> None:
        with self._journal.open("rb") as lines:
            if not self._form.start.startswith(lines.read(len(self._form.start))):
                self._refuse("holds something else")
            lines.seek(0)
            records = whole_records(lines, self._form)
            end = self._check_header(next(records, b"")) if self._form.header else 0
            for record in records:
                self._take(record)
                end += len(record)
        self._file.truncate(end)
        if end == 0:
            self._append(self._form.header)

    def _check_header(self, header: bytes) -> int:
        if header not in (b"", self._form.header):
            top_k = (header.count(b",") + 1 - len(COLUMNS)) // 2 + 1
            if header == CommaSeparated(top_k).header:
                self._refuse(f"was begun with --top-k {top_k}")
            self._refuse("holds something else")
        return len(header)

    def _restore_journal(self) -> None:
        from flower_model.results.parquet import read_parquet

        with atomic_path(self._journal) as temporary, temporary.open("wb") as lines:
            for row in read_parquet(self.path):
                self._check(row)
                lines.write(self._form.encode(row))

    def _take(self, record: bytes) -> None:
        try:
            row = self._form.decode(record)
            self._check(row)
            photo, error = to_bytes(row["photo"]).decode(), row["error"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error):
            self._refuse("holds something else")
        self._count(error)
        self._found[photo] += 1

    def _check(self, row: Row) -> None:
        if row["model"] != self.model:
            self._refuse(
                f"was begun with another model, {' '.join(str(row['model']).split())[:80]}"
            )
        if not row["error"] and len(row["top"]) != self._form.top_k:
            self._refuse(f"was begun with --top-k {len(row['top'])}")

    def _count(self, error: str | None) -> None:
        self.rows += 1
        if error:
            self.failures += 1
            self.errors += [error] if self.failures <= self.LISTED else []

    def _append(self, record: bytes) -> None:
        try:
            written = self._file.write(record)
        except OSError as error:
            self._fail(error)
        if written != len(record):
            raise FlowerModelError(f"'{self.path}' can't be written any further: is the disk full?")

    def _refuse(self, why: str) -> NoReturn:
        raise FlowerModelError(f"'{self.path}' {why}: choose another --output.")

    def _fail(self, error: OSError) -> NoReturn:
        raise FlowerModelError(f"'{self.path}' can't be written ({error.strerror}).") from None


def _lock(descriptor: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FlowerModelError(f"'{path}' is being written by another run: wait for it.") from None
    except OSError:  # a file system that has no locks
        pass
