"""Decoded photos on disk: opened once, then mapped into every run and process that needs them.

A set is one Arrow file, named after the content of its photos, so it is found again wherever these
lie. A photo that does not open has a row without pixels.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from huggingface_hub import constants

from flower_model.errors import WriteError
from flower_model.system.files import atomic_path

FORMAT = 1  # of a set; counts up when what it holds changes
LIMIT = 10e9  # bytes of all sets; the ones not used for longest go first
ABANDONED = 3600  # seconds since a file was last written to, after which its run was killed
ROWS = 256  # photos of a record batch
SCHEMA = pa.schema(
    [("height", pa.int32()), ("width", pa.int32()), ("pixels", pa.large_binary())],
)


class Pictures(Sequence[np.ndarray | None]):
    """The pictures of a set, mapped from its file: (height, width, 3) uint8, read-only.

    It travels to another process as the name of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]

    def __len__(self) -> int:
        return sum(len(batch) for batch in self._batches)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        batch, row = self._batches[index // ROWS], index % ROWS
        pixels = batch["pixels"][row]
        if not pixels.is_valid:
            return None
        shape = batch["height"][row].as_py(), batch["width"][row].as_py(), 3
        return np.frombuffer(pixels.as_buffer(), np.uint8).reshape(shape)

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return Pictures, (self.path,)


def set_name(digests: Iterable[str], short_side: int) -> str:
    """The name of the set of photos with these SHA-256 sums, in this order, at this size."""
    content = "\n".join([f"{FORMAT} {short_side}", *digests])
    return f"{hashlib.sha256(content.encode()).hexdigest()}.arrow"


def read_set(name: str) -> Pictures | None:
    """The set of that name, or None if there is none that can be read."""
    path = _folder() / name
    try:
        pictures = Pictures(path)
        os.utime(path)  # used just now
    except (OSError, pa.ArrowException):
        return None
    return pictures


def write_set(name: str, pictures: Iterable[np.ndarray | None], expected: float) -> Pictures | None:
    """Keeps a set as its pictures come, and gives it back.

    The file appears in one step, and whole: several runs may write the same one at once.

    Args:
        name: Its name.
        pictures: Arrays (height, width, 3) uint8, or None where a photo does not open.
        expected: About how many bytes it will take.

    Returns:
        The set; None if there is no room for it, or none may be written.
    """
    if expected > LIMIT:
        return None
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        _make_room(expected)
        if expected > shutil.disk_usage(_folder()).free / 2:
            return None
        with (
            atomic_path(_folder() / name) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, SCHEMA) as writer,
        ):
            rows: list[tuple[int, int, memoryview] | tuple[None, None, None]] = []
            for picture in pictures:
                rows.append(
                    (None, None, None)
                    if picture is None
                    else (*picture.shape[:2], np.ascontiguousarray(picture).data.cast("B"))
                )
                if len(rows) == ROWS:
                    writer.write_batch(_batch(rows))
                    rows = []
            if rows:
                writer.write_batch(_batch(rows))
    except (OSError, WriteError, pa.ArrowException):
        return None
    return read_set(name)


def _batch(rows: list[Any]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(list(c), field.type) for c, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _make_room(needed: float) -> None:
    for path in _folder().glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
    files = sorted(_folder().glob("*.arrow"), key=lambda path: path.stat().st_mtime)
    total = needed + sum(path.stat().st_size for path in files)
    for path in files:  # a run that has one of them mapped keeps it until it ends
        if total <= LIMIT:
            break
        total -= path.stat().st_size
        with suppress(OSError):
            path.unlink()


def _folder() -> Path:
    return Path(constants.HF_ASSETS_CACHE) / "flower_model" / "decoded"
