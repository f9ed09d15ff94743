"""Results file: one row per photo, resumable after any interruption."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, Self

from flower_model.errors import FlowerModelError, ImageError, shorten
from flower_model.results.rows import Row, flatten, make_row, utf8
from flower_model.results.tables import read_table, write_table
from flower_model.system.files import atomic_path, sync, try_lock

if TYPE_CHECKING:
    from flower_model.prediction import Prediction

START = b'{"photo": "'  # of every journal


def check_output(path: Path) -> None:
    """Reject an output path of an unknown format or in a missing folder.

    Raises:
        FlowerModelError: If no results file can be written to `path`.
    """
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise FlowerModelError(f"'{path}' must end in .csv, .jsonl or .parquet.")
    if not os.path.isdir(path.parent):  # unlike Path.is_dir, never raises
        raise FlowerModelError(
            f"The folder '{path.parent}' does not exist or can't be opened: create it first."
        )


class ResultsFile:
    """A results file that is being written.

    Rows are appended to a journal in JSON Lines. For a .jsonl file the journal is the file itself;
    for a .csv or .parquet file it is named answers.csv.jsonl, and `finish` converts it atomically
    and deletes it. A process that starts later resumes from the journal or the finished file.

    Attributes:
        rows: Number of rows.
        failures: Number of rows with an error.
        errors: The first `MAX_ERRORS` errors.

    Example:
        >>> with ResultsFile(Path("answers.csv"), model="resnet50-0123", top_k=5) as results:
        ...     for photo in photos:
        ...         if not results.is_done(photo):
        ...             results.write(photo, model.predict(photo))
        ...     results.finish()
    """

    MAX_ERRORS = 20

    def __init__(self, path: Path, *, model: str, top_k: int) -> None:
        """Create or resume a results file.

        Args:
            path: A .csv, .jsonl or .parquet file.
            model: Identifies the model; stored in every row.
            top_k: Labels per row, at least 1.

        Raises:
            FlowerModelError: If the file can't be read or written, another process is writing it,
                or it holds other data or the results of another model or top_k.
        """
        self.path = path
        self.model = model
        self.top_k = top_k
        self.rows = 0
        self.failures = 0
        self.errors: list[str] = []
        self._done: Counter[str] = Counter()
        self._journal = path if path.suffix == ".jsonl" else path.with_name(f"{path.name}.jsonl")
        try:
            self._file = self._open_journal()
            try:
                if self._journal != path and path.exists() and path.stat().st_size:
                    self._restore_journal()
                self._resume()
            except BaseException:
                self._close()
                raise
        except OSError as error:
            self._raise(error)

    def is_done(self, photo: str) -> bool:
        """Return whether the file had a row for `photo` when opened; each row counts once."""
        name = utf8(photo)
        if not self._done[name]:
            return False
        self._done[name] -= 1
        return True

    def write(self, photo: str, answer: "Prediction | ImageError") -> None:
        """Append a row.

        Raises:
            FlowerModelError: If it can't be written, for example on a full disk.
        """
        row = make_row(photo, answer) | {"model": self.model}
        self._count(row)
        line = _encode(row)
        try:
            written = self._file.write(line)
        except OSError as error:
            self._raise(error)
        if written != len(line):
            raise FlowerModelError(
                f"'{self.path}' can't be written: the disk is full. Free some space and run the "
                "command again."
            )

    def finish(self) -> None:
        """Complete the file; no rows may be written afterwards.

        Raises:
            FlowerModelError: If the journal can't be converted; it is kept.
        """
        try:
            sync(self._journal)
            if self._journal != self.path:
                with self._journal.open("rb") as lines:
                    write_table(self.path, map(json.loads, lines), self.top_k)
                self._let_go()
                self._journal.unlink()
            self._file.close()  # which keeps a .jsonl file without rows
        except OSError as error:
            self._raise(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _open_journal(self) -> BinaryIO:
        file = self._journal.open("ab", buffering=0)
        if not try_lock(file) or not _is_at(file, self._journal):
            file.close()
            raise FlowerModelError(
                f"'{self.path}' is being written by another process. Wait until it ends, or choose "
                "another --output."
            )
        return file

    def _restore_journal(self) -> None:
        """Fill an empty journal from the finished file, or check that the file is a results file."""
        finished = read_table(self.path)
        if self._journal.stat().st_size:
            next(finished, None)
            return
        with atomic_path(self._journal) as temporary, temporary.open("wb") as lines:
            for row in finished:
                self._check(row)
                lines.write(_encode(row))
            self._let_go()
        self._file.close()
        self._file = self._open_journal()

    def _resume(self) -> None:
        """Read the journal's rows and cut off an incomplete last line."""
        end = 0
        with self._journal.open("rb") as lines:
            if not START.startswith(lines.read(len(START))):
                self._reject("holds other data")
            lines.seek(0)
            for line in lines:
                if line.endswith(b"\n"):
                    self._read_row(line)
                    end += len(line)
        self._file.truncate(end)

    def _read_row(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            self._check(row)
            flatten(row, self.top_k)
            self._done[utf8(row["photo"])] += 1
            self._count(row)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self._reject("holds other data")

    def _check(self, row: Row) -> None:
        if row["model"] != self.model:
            self._reject(f"has results of another model, {shorten(row['model'])}")
        if not row["error"] and len(row["top"]) != self.top_k:
            self._reject(f"was started with --top-k {len(row['top'])}")

    def _count(self, row: Row) -> None:
        self.rows += 1
        if row["error"]:
            self.failures += 1
            self.errors += [row["error"]] if self.failures <= self.MAX_ERRORS else []

    def _close(self) -> None:
        is_left_empty = (
            not self._file.closed
            and _is_at(self._file, self._journal)
            and not self._journal.stat().st_size
        )
        self._let_go()
        if is_left_empty:
            self._journal.unlink()
        self._file.close()

    def _let_go(self) -> None:
        """Close the journal on Windows, which can't replace or delete open files, and has no lock on it."""
        if os.name == "nt":
            self._file.close()

    def _reject(self, reason: str) -> NoReturn:
        raise FlowerModelError(f"'{self.path}' {reason}: choose another --output.")

    def _raise(self, error: OSError) -> NoReturn:
        raise FlowerModelError(
            f"'{self.path}' can't be written ({error.strerror}). Correct that and run the command "
            "again, or choose another --output."
        ) from None


def _encode(row: Row) -> bytes:
    # Surrogates are escaped the way JSON does, other characters stay readable.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether the open file is still at `path`, and not deleted or replaced."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
