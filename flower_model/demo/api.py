"""For programs: the endpoints /identify and /identify_many, over HTTP and MCP."""

from typing import TypedDict

import gradio as gr

from flower_model.demo.answer_table import name_all
from flower_model.demo.batch_tab import MANY_AT_ONCE
from flower_model.demo.identify_tab import AT_ONCE
from flower_model.demo.inference import Finder
from flower_model.demo.server.request_log import answering
from flower_model.demo.uploads import open_uploads, read_upload
from flower_model.errors import FlowerModelError, ImageError
from flower_model.prediction import Prediction, PredictionDict


class Answer(PredictionDict):
    """The model's prediction for a photo, and the botanical name of its label."""

    botanical_name: str


class PhotoAnswer(TypedDict):
    """One photo of several, by its file's name: either `answer` or `error`, a sentence, is null."""

    photo: str
    answer: Answer | None
    error: str | None


def add_endpoints(find: Finder) -> None:
    """Adds the endpoints to the page; called inside it."""
    model = find.model

    def identify(photo: gr.FileData) -> Answer:
        """Names the flower in a photo.

        Args:
            photo: An image file: JPEG, PNG, WebP, …

        Returns:
            The most probable name, its calibrated probability, and the five most probable names.
        """
        with answering("/identify", _refusal) as asked:
            asked.photos = 1
            return as_answer(find(read_upload(photo)).answer)

    def identify_many(photos: list[gr.FileData]) -> list[PhotoAnswer]:
        """Names the flower in each of several photos.

        Args:
            photos: Image files, or zip files of them.

        Returns:
            For each photo its file's name and its answer, or the reason why it has none.
        """
        with answering("/identify_many", _refusal) as asked, open_uploads(photos) as uploads:
            asked.photos = len(uploads)
            return [
                {"photo": row.name, "answer": None, "error": str(row.answer)}
                if isinstance(row.answer, ImageError)
                else {"photo": row.name, "answer": as_answer(row.answer), "error": None}
                for row in name_all(model, uploads)
            ]

    def as_answer(prediction: Prediction) -> Answer:
        botanical_name = model.config.descriptions.get(prediction.label, "")
        return {**prediction.to_dict(), "botanical_name": botanical_name}

    gr.api(identify, api_name="identify", **AT_ONCE)
    gr.api(identify_many, api_name="identify_many", **MANY_AT_ONCE)


def _refusal(error: FlowerModelError) -> gr.Error:
    return gr.Error(str(error), print_exception=False)
