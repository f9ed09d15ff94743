"""Output of a cluster: a folder of Parquet files, one for each finished unit."""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from flower_model.bulk.storage import RUN_FILE, is_uri, join, locate, storage_errors, upload
from flower_model.bulk.units import Unit
from flower_model.errors import FlowerModelError, shorten
from flower_model.results.rows import Row, flatten, utf8
from flower_model.results.tables import SOURCE, write_parquet, write_table
from flower_model.system.files import atomic_path, remove_leftovers

THREADS = 32  # for reading the footers of Parquet files

Result = TypeVar("Result")


class OutputFolder:
    """A folder of Parquet files at a path or URI.

    Each unit has a file, which appears complete or not at all and is named after the unit's content.
    So a unit that is answered again, after a crash, has its answers once.

    Example:
        >>> output = OutputFolder("answers")
        >>> with output.prepare(model="resnet50-0123", top_k=5):
        ...     output.parts()
        set()
    """

    def __init__(self, name: str) -> None:
        """Name a folder; it need not exist.

        Args:
            name: Path or URI; a relative path starts from the folder of this process.
        """
        self.name = name if is_uri(name) else str(Path(name).absolute())

    @contextmanager
    def prepare(self, *, model: str, top_k: int) -> Iterator[None]:
        """Create the folder or check that it has answers of the same model; lock a local folder.

        Raises:
            FlowerModelError: If it can't be written, holds other files or the answers of another
                model or top_k, or if another process writes to it.
        """
        filesystem, path = locate(self.name)
        with storage_errors(self.name, "written"):
            filesystem.create_dir(path)
        self._read_run()  # before a lock file is left in a folder of other files
        with nullcontext() if is_uri(self.name) else self._lock():
            run = {"model": model, "top_k": top_k}
            before = self._read_run()
            if before is None:
                self._write_run(run)
            elif before != run:
                raise FlowerModelError(
                    f"'{shorten(self.name, 100)}' has answers of model {shorten(before.get('model'))} "
                    f"with --top-k {shorten(before.get('top_k'))}: choose another --output."
                )
            if not is_uri(self.name):
                remove_leftovers(Path(self.name))
            yield

    def parts(self) -> set[str]:
        """Return the names of the finished parts."""
        return {
            match[1]
            for file in self._files()
            if (match := re.fullmatch(r"part-([0-9a-f]{20})\.parquet", file))
        }

    def count(self, parts: Iterable[str]) -> tuple[int, int]:
        """Return the number of rows, and of rows with an error."""

        def count(file: Any) -> tuple[int, int]:
            rows = file.metadata.num_rows
            return rows, rows - sum(column.null_count for column in _statistics(file, "error"))

        counts = self._map_parts(count, parts)
        return sum(rows for rows, _ in counts), sum(errors for _, errors in counts)

    def without_answered(self, units: list[Unit]) -> list[Unit]:
        """Return the units, or parts of them, that have no answers yet.

        Units are found by the names of their files. Only if photos were added or removed since, so
        that files of photos belong to no unit any more, their names are read and compared.

        Raises:
            FlowerModelError: If a Parquet or tar file has answers under other units, as it has
                changed since: its photos would have two answers.
        """
        finished = self.parts()
        todo = [unit for unit in units if unit.part not in finished]
        strange = finished - {unit.part for unit in units}
        if not strange or not todo:
            return todo
        files = {utf8(unit.file) for unit in todo if unit.file}
        if changed := files & set(self._map_parts(_source, strange)):
            raise FlowerModelError(
                f"'{shorten(min(changed), 100)}' has changed, or is read with another --column, "
                f"since it was answered in '{shorten(self.name, 60)}': choose another --output."
            )
        if not any(unit.photos for unit in todo):
            return todo
        answered = self._photos(strange)
        rest = []
        for unit in todo:
            if not unit.photos:
                rest.append(unit)
            elif photos := tuple(photo for photo in unit.photos if utf8(photo) not in answered):
                rest.append(Unit(photos=photos))
        return rest

    def write(self, unit: Unit, rows: Iterable[Row], top_k: int) -> None:
        """Write the file of a unit's answers, replacing it if it exists.

        Raises:
            FlowerModelError: If it can't be written.
        """
        name, source = self.path(unit.part), utf8(unit.file)
        if not is_uri(name):
            write_table(Path(name), rows, top_k, source)
            return
        content = io.BytesIO()
        write_parquet(content, (flatten(row, top_k) for row in rows), top_k, source)
        upload(content.getvalue(), name)

    def path(self, part: str) -> str:
        """Return the path or URI of a part's file."""
        return join(self.name, f"part-{part}.parquet")

    def _photos(self, parts: Iterable[str]) -> set[str]:
        def photos(file: Any) -> list[str]:
            return list(file.read(columns=["photo"])["photo"].to_pylist())

        return {name for names in self._map_parts(photos, parts) for name in names}

    def _map_parts(self, function: Callable[[Any], Result], parts: Iterable[str]) -> list[Result]:
        """Return the function's values for the `pyarrow.parquet.ParquetFile` of each part."""
        import pyarrow.parquet as pq

        def call(part: str) -> Result:
            filesystem, path = locate(self.path(part))
            with filesystem.open_input_file(path) as file:
                return function(pq.ParquetFile(file))

        with storage_errors(self.name), ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(call, parts))

    def _files(self) -> list[str]:
        from pyarrow.fs import FileSelector

        filesystem, path = locate(self.name)
        with storage_errors(self.name):
            return [file.base_name for file in filesystem.get_file_info(FileSelector(path))]

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(Path(self.name) / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise FlowerModelError(
                f"'{shorten(self.name, 100)}' is being written by another process. Wait until it "
                "ends, or choose another --output."
            ) from None
        except NotImplementedError:  # a file system without locks, such as Lustre by default
            pass
        except OSError as error:
            raise FlowerModelError(
                f"'{shorten(self.name, 100)}' can't be written ({error.strerror}). Correct that "
                "and run the command again, or choose another --output."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _read_run(self) -> dict[str, Any] | None:
        files = [file for file in self._files() if not file.startswith(".")]
        if not files:
            return None
        filesystem, path = locate(join(self.name, RUN_FILE))
        try:
            with filesystem.open_input_stream(path) as file:
                return dict(json.loads(file.read()))
        except (OSError, ValueError, TypeError):
            raise FlowerModelError(
                f"'{shorten(self.name, 100)}' holds other files: choose another --output."
            ) from None

    def _write_run(self, run: dict[str, Any]) -> None:
        name, content = join(self.name, RUN_FILE), json.dumps(run)
        if is_uri(name):
            upload(content.encode(), name)
        else:
            with atomic_path(name) as temporary:
                temporary.write_text(content, encoding="utf-8")


def _source(file: Any) -> str:
    """Return the Parquet or tar file whose photos a part's file has, "" if they are files of their own."""
    metadata: dict[bytes, bytes] = file.schema_arrow.metadata or {}
    return metadata.get(SOURCE.encode(), b"").decode()


def _statistics(file: Any, column: str) -> list[Any]:
    """Return the statistics of a column in each row group of a `pyarrow.parquet.ParquetFile`."""
    metadata = file.metadata
    index = metadata.schema.names.index(column)
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    return [group.column(index).statistics for group in groups]
