"""Drawn photos in Parquet and WebDataset shards."""

import hashlib
import io
import tarfile
from collections.abc import Iterable

from datasets import ClassLabel, Dataset, Features, Image
from pyarrow.parquet import read_table

from tests.support.drawn import COLOURS, draw_photo

PER_CLASS = 8


def png(label: str, number: int) -> bytes:
    file = io.BytesIO()
    draw_photo(COLOURS[label], number + 1000 * list(COLOURS).index(label)).save(file, "PNG")
    return file.getvalue()


def parquet(numbers: range = range(PER_CLASS)) -> bytes:
    """A Parquet file as `datasets` pushes it to the Hub, with class names."""
    return parquet_of([label for label in COLOURS for _ in numbers], numbers[0])


def parquet_of(labels: list[str], offset: int = 0, images: list[bytes] | None = None) -> bytes:
    images = images or [png(label, offset + number) for number, label in enumerate(labels)]
    table = Dataset.from_dict(
        {
            "image": [{"bytes": image, "path": None} for image in images],
            "label": [list(COLOURS).index(label) for label in labels],
        },
        Features(image=Image(), label=ClassLabel(names=list(COLOURS))),
    )
    file = io.BytesIO()
    table.to_parquet(file)
    return file.getvalue()


def parquet_images(content: bytes) -> set[bytes]:
    """The encoded photos in a Parquet file."""
    return {image["bytes"] for image in read_table(io.BytesIO(content))["image"].to_pylist()}


def digests(images: Iterable[bytes]) -> frozenset[str]:
    return frozenset(hashlib.sha256(image).hexdigest() for image in images)


def shard(which: int) -> bytes:
    """A tar file of pairs: NUMBER.png and NUMBER.cls, the class index as text."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for label in COLOURS:
            for number in range(which * PER_CLASS // 2, (which + 1) * PER_CLASS // 2):
                key = f"{list(COLOURS).index(label)}{number:03}"
                for suffix, content in (
                    ("png", png(label, number)),
                    ("cls", b"%d" % list(COLOURS).index(label)),
                ):
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return file.getvalue()
