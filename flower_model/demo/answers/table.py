"""Predictions for many uploads, their JSON and their CSV."""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps
from typing_extensions import TypedDict

from flower_model.demo.identifier import TOP_K, PhotoIdentifier
from flower_model.demo.uploads import Upload
from flower_model.errors import ImageError
from flower_model.photos.decode import open_image
from flower_model.photos.prefetch import predict_batches
from flower_model.prediction import Prediction, PredictionDict
from flower_model.results.rows import flatten, make_row
from flower_model.results.tables import write_csv

THUMBNAIL_SIDE = 240  # pixels


class PhotoAnswer(TypedDict):
    """One of several photos with its file name; either `answer` or `error` is null."""

    photo: str
    answer: PredictionDict | None
    error: str | None


@dataclass(frozen=True)
class UploadResult:
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
    identify: PhotoIdentifier, uploads: Sequence[Upload], *, thumbnails: bool = False
) -> Iterator[UploadResult]:
    """Yield a row for each upload, in order; photos that can't be opened get their error.

    Closing the iterator does not wait for the photos that are being decoded.
    """
    model = identify.model
    pending: dict[int, Image.Image] = {}

    def to_pixels(number: int) -> np.ndarray:
        # Read in the prefetch threads, so that only the files being decoded are in memory.
        data = uploads[number].read()
        pixels = model.to_pixels(data)
        if thumbnails:
            pending[number] = thumbnail(data)
        return pixels

    def classify_batch(pixels: np.ndarray) -> list[Prediction]:
        return model.to_predictions(model.runtime(pixels), top_k=TOP_K)

    numbers = range(len(uploads))
    with (
        identify.batch_slots,
        closing(
            # Gradio closes it in the event loop when the visitor has left.
            predict_batches(numbers, to_pixels, classify_batch, batch_size=16, wait=False)
        ) as answers,
    ):
        for number, answer in zip(numbers, answers, strict=True):
            yield UploadResult(uploads[number].name, answer, pending.pop(number, None))


def identify_uploads(identify: PhotoIdentifier, uploads: Sequence[Upload]) -> list[PhotoAnswer]:
    """Return the answers to several uploads, in order, for JSON."""
    return [
        {"photo": row.name, "answer": None, "error": str(row.answer)}
        if isinstance(row.answer, ImageError)
        else {"photo": row.name, "answer": row.answer.to_dict(), "error": None}
        for row in classify_uploads(identify, uploads)
    ]


def csv_text(rows: Iterable[UploadResult], model: str, top_k: int) -> str:
    """Return a results file like the command's, as CSV.

    Args:
        rows: Results.
        model: Identifies the model.
        top_k: Labels per row.
    """
    flat = (flatten(make_row(row.name, row.answer) | {"model": model}, top_k) for row in rows)
    buffer = io.StringIO()
    write_csv(buffer, flat, top_k)
    return buffer.getvalue()


def thumbnail(data: bytes) -> Image.Image:
    """Return a square picture of a photo with sides of `THUMBNAIL_SIDE`.

    Raises:
        ImageError: If the photo can't be opened.
    """
    picture = open_image(data, short_side=THUMBNAIL_SIDE)
    return ImageOps.fit(picture, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
