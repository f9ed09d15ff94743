"""Shards: equal parts of the photos, for the tasks of an array job."""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from flower_model.errors import FlowerModelError, shorten
from flower_model.results.rows import utf8


@dataclass(frozen=True)
class Shard:
    """One of `count` disjoint parts of any set of photos.

    A photo's name decides where it belongs, so photos that are added later move no other photo.

    Attributes:
        number: From 1 to `count`.
        count: Number of parts.

    Example:
        >>> shard = Shard.parse("3/64")
        >>> shard.path(Path("results.csv")).name
        'results-00003-of-00064.csv'
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse for example "3/64".

        Raises:
            FlowerModelError: If it has another form or there is no such shard.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise FlowerModelError(
                f"--shard must be a number from 1 to the number of shards, such as 3/64, not "
                f"'{shorten(text)}'."
            )
        return cls(int(match[1]), int(match[2]))

    def __contains__(self, photo: str) -> bool:
        return zlib.crc32(utf8(photo).encode()) % self.count == self.number - 1

    def path(self, output: Path) -> Path:
        """Return the path of the shard's own results file."""
        name = f"{output.stem}-{self.number:05}-of-{self.count:05}{output.suffix}"
        return output.with_name(name)
