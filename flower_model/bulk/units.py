"""Units of work: photos that one worker answers in one go, into one file."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

MIN_PHOTOS, MAX_PHOTOS = 256, 4096  # in a unit; an interruption costs each worker one unit


@dataclass(frozen=True)
class Unit:
    """Photos in files of their own, or a part of a Parquet or tar file.

    Attributes:
        photos: Paths or URIs of photos; empty for a part of a file.
        file: Path or URI of a Parquet or tar file.
        column: The column of a Parquet file that has the photos.
        start, stop: Range of its rows; 0 for a tar file, which is read whole.
        size: Bytes of a tar file, whose answers don't count any more when it has grown.
    """

    photos: tuple[str, ...] = ()
    file: str = ""
    column: str = ""
    start: int = 0
    stop: int = 0
    size: int = 0

    @cached_property
    def part(self) -> str:
        """Name of the unit's answers, a hash of its content: a repetition replaces the same file."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:20]

    @property
    def count(self) -> int:
        """Number of photos; 0 if unknown, as for a tar file."""
        return len(self.photos) or self.stop - self.start

    def to_json(self) -> str:
        """Return the unit as ASCII text, whatever bytes the names have."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Unit":
        """Return the unit of `to_json`."""
        values = json.loads(text)
        return cls(**values | {"photos": tuple(values["photos"])})


def divide(photos: Sequence[str]) -> Iterator[Unit]:
    """Yield units of consecutive photos, some 256 of them for up to a million photos."""
    size = min(MAX_PHOTOS, max(MIN_PHOTOS, len(photos) // 256))
    for start in range(0, len(photos), size):
        yield Unit(photos=tuple(photos[start : start + size]))
