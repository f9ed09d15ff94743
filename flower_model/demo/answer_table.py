"""Many photos' answers: as they come, as table rows, and as CSV that a spreadsheet may open."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from flower_model.classifier import FlowerClassifier
from flower_model.demo.uploads import Upload
from flower_model.errors import ImageError
from flower_model.photos.decode import open_image
from flower_model.photos.prefetch import predict_batches
from flower_model.prediction import Prediction

THUMBNAIL_SIDE = 240  # pixels
# The command line's, and the botanical name.
COLUMNS = (
    *("photo", "error", "label", "botanical_name", "probability"),
    *("is_flower", "flower_probability"),
)
MORE_COLUMNS = ("label_2", "probability_2", "label_3", "probability_3")


@dataclass(frozen=True)
class Row:
    """What became of one upload.

    Attributes:
        name: Of the file.
        answer: The prediction, or why there is none.
        thumbnail: A small square picture; None if the file is no photo or none was asked for.
    """

    name: str
    answer: Prediction | ImageError
    thumbnail: Image.Image | None = None


def name_all(
    model: FlowerClassifier, uploads: Sequence[Upload], *, thumbnails: bool = False
) -> Iterator[Row]:
    """Names the flower in every upload, in the order given; what can't be opened gets its reason."""
    small: dict[int, Image.Image] = {}

    def to_pixels(number: int) -> np.ndarray:
        # Read in the stream's threads: only as many files are in memory as are being opened.
        data = uploads[number].read()
        pixels = model.to_pixels(data)
        if thumbnails:
            small[number] = _thumbnail(data)
        return pixels

    def answer_batch(pixels: np.ndarray) -> list[Prediction]:
        return model.to_predictions(model.runtime(pixels))

    numbers = range(len(uploads))
    with closing(predict_batches(numbers, to_pixels, answer_batch, batch_size=32)) as answers:
        for number, answer in zip(numbers, answers, strict=True):
            yield Row(uploads[number].name, answer, small.pop(number, None))


def csv_text(rows: Sequence[Row], descriptions: Mapping[str, str]) -> str:
    """All rows as CSV with a header; probabilities are in [0, 1].

    Args:
        rows: What became of each upload.
        descriptions: Label -> botanical name.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS + MORE_COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        cells = _cells(row, descriptions)
        writer.writerow({column: _harmless(str(cell)) for column, cell in cells.items()})
    return buffer.getvalue()


def _cells(row: Row, descriptions: Mapping[str, str]) -> dict[str, str | float]:
    answer = row.answer
    if isinstance(answer, ImageError):
        return {"photo": row.name, "error": str(answer)}
    cells: dict[str, str | float] = {
        "photo": row.name,
        "label": answer.label,
        "botanical_name": descriptions.get(answer.label, ""),
        "probability": round(answer.probability, 6),
    }
    if answer.flower_probability is not None:
        cells["is_flower"] = bool(answer.is_flower)
        cells["flower_probability"] = round(answer.flower_probability, 6)
    for place, (label, probability) in enumerate(answer.top[1:3], start=2):
        cells |= {f"label_{place}": label, f"probability_{place}": round(probability, 6)}
    return cells


def _harmless(cell: str) -> str:
    # A spreadsheet would run such a cell, a file's name for instance, as a formula.
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _thumbnail(data: bytes) -> Image.Image:
    picture = open_image(data, short_side=THUMBNAIL_SIDE)
    return ImageOps.fit(picture, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
