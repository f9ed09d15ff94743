"""Many photos' answers: as they come, as table rows, and as CSV that a spreadsheet may open."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from flower_model.classifier import FlowerClassifier
from flower_model.demo.uploads import Upload
from flower_model.errors import ImageError
from flower_model.photos.decode import open_image
from flower_model.photos.prefetch import predict_batches
from flower_model.prediction import Prediction
from flower_model.results.rows import flatten, make_row

THUMBNAIL_SIDE = 240  # pixels
# The columns of the command's CSV, and the botanical name.
COLUMNS = (
    *("photo", "error", "label", "botanical_name", "probability", "is_flower"),
    *("flower_probability", "label_2", "probability_2", "label_3", "probability_3"),
)


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
    writer = csv.DictWriter(buffer, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        cells = flatten(make_row(row.name, row.answer), top_k=3)
        cells["botanical_name"] = descriptions.get(cells["label"])
        writer.writerow({column: _harmless(cell) for column, cell in cells.items()})
    return buffer.getvalue()


def _harmless(cell: Any) -> Any:
    # Spreadsheets would run such a cell, for example a file name, as a formula.
    is_formula = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if is_formula else cell


def _thumbnail(data: bytes) -> Image.Image:
    picture = open_image(data, short_side=THUMBNAIL_SIDE)
    return ImageOps.fit(picture, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
