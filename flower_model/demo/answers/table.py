"""Predictions for many uploads, and their CSV."""

import csv
import io
import threading
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
CONCURRENT_BATCHES = 2
_SLOTS = threading.BoundedSemaphore(CONCURRENT_BATCHES)  # bounds memory, over all endpoints
# The columns of the command's CSV, and the botanical name.
COLUMNS = (
    *("photo", "error", "label", "botanical_name", "probability", "is_flower"),
    *("flower_probability", "label_2", "probability_2", "label_3", "probability_3"),
)


@dataclass(frozen=True)
class Row:
    """Result for one upload.

    Attributes:
        name: File name.
        answer: The prediction, or the error that prevented it.
        thumbnail: Small square picture; None for an error or if not requested.
    """

    name: str
    answer: Prediction | ImageError
    thumbnail: Image.Image | None = None


def classify_uploads(
    model: FlowerClassifier, uploads: Sequence[Upload], *, thumbnails: bool = False
) -> Iterator[Row]:
    """Yield a row for each upload, in order; photos that can't be opened get their error."""
    pending: dict[int, Image.Image] = {}

    def to_pixels(number: int) -> np.ndarray:
        # Read in the prefetch threads, so that only the files being decoded are in memory.
        data = uploads[number].read()
        pixels = model.to_pixels(data)
        if thumbnails:
            pending[number] = _thumbnail(data)
        return pixels

    def classify_batch(pixels: np.ndarray) -> list[Prediction]:
        return model.to_predictions(model.runtime(pixels))

    numbers = range(len(uploads))
    with (
        _SLOTS,
        closing(predict_batches(numbers, to_pixels, classify_batch, batch_size=32)) as answers,
    ):
        for number, answer in zip(numbers, answers, strict=True):
            yield Row(uploads[number].name, answer, pending.pop(number, None))


def csv_text(rows: Sequence[Row], descriptions: Mapping[str, str]) -> str:
    """Return all rows as CSV with a header; probabilities are in [0, 1].

    Args:
        rows: Results.
        descriptions: Label -> botanical name.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        cells = flatten(make_row(row.name, row.answer), top_k=3)
        cells["botanical_name"] = descriptions.get(cells["label"])
        writer.writerow({column: _neutralize(cell) for column, cell in cells.items()})
    return buffer.getvalue()


def _neutralize(cell: Any) -> Any:
    # Spreadsheets would run such a cell, for example a file name, as a formula.
    is_formula = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if is_formula else cell


def _thumbnail(data: bytes) -> Image.Image:
    picture = open_image(data, short_side=THUMBNAIL_SIDE)
    return ImageOps.fit(picture, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
