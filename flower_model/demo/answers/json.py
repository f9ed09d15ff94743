"""Answers of the API as JSON-compatible dictionaries."""

from collections.abc import Mapping, Sequence

from typing_extensions import TypedDict

from flower_model.classifier import FlowerClassifier
from flower_model.demo.answers.table import classify_uploads
from flower_model.demo.uploads import Upload
from flower_model.errors import ImageError
from flower_model.prediction import Prediction, PredictionDict


class Answer(PredictionDict):
    """The model's prediction for a photo, and the botanical name of its label."""

    botanical_name: str


class PhotoAnswer(TypedDict):
    """One of several photos with its file name; either `answer` or `error` is null."""

    photo: str
    answer: Answer | None
    error: str | None


def answer_dict(prediction: Prediction, descriptions: Mapping[str, str]) -> Answer:
    """Return a prediction as the API's answer.

    Args:
        prediction: The prediction.
        descriptions: Label -> botanical name.
    """
    botanical_name = descriptions.get(prediction.label, "")
    return {**prediction.to_dict(), "botanical_name": botanical_name}


def identify_uploads(model: FlowerClassifier, uploads: Sequence[Upload]) -> list[PhotoAnswer]:
    """Return the answers to several uploads, in order."""
    descriptions = model.config.descriptions
    return [
        {"photo": row.name, "answer": None, "error": str(row.answer)}
        if isinstance(row.answer, ImageError)
        else {"photo": row.name, "answer": answer_dict(row.answer, descriptions), "error": None}
        for row in classify_uploads(model, uploads)
    ]
