"""Answers of the API as JSON-compatible dictionaries."""

from collections.abc import Sequence

from typing_extensions import TypedDict

from flower_model.classifier import FlowerClassifier
from flower_model.demo.answers.table import classify_uploads
from flower_model.demo.uploads import Upload
from flower_model.errors import ImageError
from flower_model.prediction import PredictionDict


class PhotoAnswer(TypedDict):
    """One of several photos with its file name; either `answer` or `error` is null."""

    photo: str
    answer: PredictionDict | None
    error: str | None


def identify_uploads(model: FlowerClassifier, uploads: Sequence[Upload]) -> list[PhotoAnswer]:
    """Return the answers to several uploads, in order."""
    return [
        {"photo": row.name, "answer": None, "error": str(row.answer)}
        if isinstance(row.answer, ImageError)
        else {"photo": row.name, "answer": row.answer.to_dict(), "error": None}
        for row in classify_uploads(model, uploads)
    ]
