"""Gradio endpoints /identify, /identify_plant and /identify_many for gradio_client."""

import gradio as gr
from gradio.events import api

from flower_model.demo.answers.table import PhotoAnswer, identify_uploads
from flower_model.demo.identifier import CONCURRENT_PHOTOS, MAX_PLANT_PHOTOS, PhotoIdentifier
from flower_model.demo.server.request_log import log_request
from flower_model.demo.tabs.batch import MANY_PHOTOS
from flower_model.demo.uploads import as_list, open_uploads, read_upload
from flower_model.errors import FlowerModelError
from flower_model.plant import PlantPredictionDict
from flower_model.prediction import PredictionDict

# Their photos are in memory, encoded, while they wait.
CONCURRENT_PLANTS = CONCURRENT_PHOTOS // MAX_PLANT_PHOTOS


def add_endpoints(identify_photo: PhotoIdentifier) -> None:
    """Add the endpoints inside the current `gr.Blocks`."""

    def identify(photo: gr.FileData) -> PredictionDict:
        """Identify the flower in a photo.

        Args:
            photo: Image file: JPEG, PNG, WebP, …

        Returns:
            The most probable name, its calibrated probability, and the five most probable names.
        """
        with log_request("/identify", _client_error, photos=1):
            return identify_photo(read_upload(photo)).prediction.to_dict()

    def identify_plant(photos: list[gr.FileData]) -> PlantPredictionDict:
        """Identify one plant from several photos of it.

        Args:
            photos: One to five image files.

        Returns:
            The answer for the plant, and the answers to the single photos.
        """
        sent = as_list(photos)
        with log_request("/identify_plant", _client_error, len(sent)):
            contents = [read_upload(photo) for photo in sent[: MAX_PLANT_PHOTOS + 1]]
            return identify_photo.identify_plant(contents).prediction.to_dict()

    def identify_many(photos: list[gr.FileData]) -> list[PhotoAnswer]:
        """Identify the flower in each of several photos.

        Args:
            photos: Image files, or zip archives of them.

        Returns:
            For each photo its file name and its answer, or an error message.
        """
        sent = as_list(photos)
        with log_request("/identify_many", _client_error) as record, open_uploads(sent) as files:
            record.photos = len(files)
            return identify_uploads(identify_photo, files)

    api(identify, api_name="identify", concurrency_limit=CONCURRENT_PHOTOS)
    api(identify_plant, api_name="identify_plant", concurrency_limit=CONCURRENT_PLANTS)
    api(identify_many, api_name="identify_many", **MANY_PHOTOS)


def _client_error(error: FlowerModelError) -> gr.Error:
    return gr.Error(str(error), print_exception=False)
