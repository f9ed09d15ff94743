"""The decoded-photo cache on disk: one Arrow file per set of photos, memory-mapped by every run.

A file is named after the content of its photos, so moved photos are found again. A photo that can't
be opened has a row without pixels.
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
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
        self._rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()  # nothing is copied

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        height, width, pixels = (column[index] for column in self._rows.columns)
        if not pixels.is_valid:
            return None
        return np.frombuffer(pixels.as_buffer(), np.uint8).reshape(height.as_py(), width.as_py(), 3)

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
        key: From `cache_key`.
        images: Arrays (height, width, 3) uint8, or None for a photo that can't be opened.
        expected_size: In bytes.

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
            rows = map(_row, images)
            while batch := list(islice(rows, ROWS)):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))
    except (OSError, WriteError, pa.ArrowException):
        return None
    return load_images(key)


def _row(image: np.ndarray | None) -> dict[str, Any]:
    if image is None:
        return {}
    height, width, _ = image.shape
    pixels = np.ascontiguousarray(image).data.cast("B")
    return {"height": height, "width": width, "pixels": pixels}
