"""The decoded-photo cache on disk: one Arrow file per set of photos, memory-mapped by every run.

A file is named after the content of its photos, so moved photos are found again. A photo that can't
be opened has a row without pixels.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flower_model.errors import WriteError
from flower_model.system.disk_cache import find_entry, has_room, new_entry

KIND = "decoded"
FORMAT = 1  # increment it when the layout of the files changes
ROWS = 256  # photos per record batch
SCHEMA = pa.schema(
    [("height", pa.int32()), ("width", pa.int32()), ("pixels", pa.large_binary())],
)


class MappedImages(Sequence[np.ndarray | None]):
    """The images of a cache file: read-only arrays (height, width, 3) uint8, or None.

    Pickling it pickles the path of the file, so that worker processes map the file themselves.
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
        return MappedImages, (self.path,)


def cache_key(digests: Iterable[str], short_side: int) -> str:
    """Return the file name for photos with these SHA-256 digests, in this order, at this size."""
    content = "\n".join([f"{FORMAT} {short_side}", *digests])
    return f"{hashlib.sha256(content.encode()).hexdigest()}.arrow"


def load_images(key: str) -> MappedImages | None:
    """Return the cached images, or None if there is no readable file."""
    try:
        path = find_entry(KIND, key, pin=True)  # worker processes open it by its path later
        return MappedImages(path) if path else None
    except (OSError, pa.ArrowException):
        return None


def save_images(
    key: str, images: Iterable[np.ndarray | None], expected_size: float
) -> MappedImages | None:
    """Write images to the cache while they are being decoded, and return them memory-mapped.

    The file is renamed into place when it is complete, so concurrent runs may write the same one.

    Args:
        key: See `cache_key`.
        images: Arrays (height, width, 3) uint8, or None for a photo that can't be opened.
        expected_size: Estimated size of the file in bytes.

    Returns:
        The images; None if the disk has no room for them or the cache can't be written.
    """
    try:
        if not has_room(expected_size):
            return None
        with (
            new_entry(KIND, key) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, SCHEMA) as writer,
        ):
            rows: list[tuple[int, int, memoryview] | tuple[None, None, None]] = []
            for image in images:
                rows.append(
                    (None, None, None)
                    if image is None
                    else (*image.shape[:2], np.ascontiguousarray(image).data.cast("B"))
                )
                if len(rows) == ROWS:
                    writer.write_batch(_record_batch(rows))
                    rows = []
            if rows:
                writer.write_batch(_record_batch(rows))
    except (OSError, WriteError, pa.ArrowException):
        return None
    return load_images(key)


def _record_batch(rows: list[Any]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(list(c), field.type) for c, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
