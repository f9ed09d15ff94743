"""Identification of single photos and of plants for many concurrent visitors."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from flower_model.classifier import FlowerClassifier
from flower_model.demo.micro_batching import MicroBatcher
from flower_model.errors import ImageError
from flower_model.photos.decode import open_image
from flower_model.plant import PlantPhoto, PlantPrediction, make_plant_prediction, pixels_digest
from flower_model.prediction import Prediction
from flower_model.runtimes.base import Outputs

TOP_K = 5
MAX_PLANT_PHOTOS = 5
MIN_SHOWN = 0.01  # less probable labels are neither listed nor explained
CONCURRENT_PHOTOS = 16  # decoded or classified at the same time, over all endpoints
CONCURRENT_BATCHES = 2  # requests of many photos


@dataclass(frozen=True)
class Identification:
    """Prediction for one photo and the evidence behind it.

    Attributes:
        prediction: The `TOP_K` most probable labels.
        size: (width, height) of the upright photo as decoded, which may be smaller than the file's.
        maps: Label -> (height, width) class activation map of the labels that are shown, the most
            probable first; empty if the network has no activation maps.
    """

    prediction: Prediction
    size: tuple[int, int]
    maps: dict[str, np.ndarray]

    @property
    def photos(self) -> "list[Identification]":
        """This photo alone, like the photos of a `PlantIdentification`."""
        return [self]


@dataclass(frozen=True)
class PlantIdentification:
    """Prediction for a plant and the evidence in each photo of it.

    Attributes:
        prediction: The `TOP_K` most probable labels.
        photos: The photos' own predictions, but the maps of the plant's labels.
    """

    prediction: PlantPrediction
    photos: list[Identification]


class PhotoIdentifier:
    """Thread-safe, micro-batched identification of single photos and of plants.

    Attributes:
        model: The model.
        batch_slots: Held while a request of many photos is answered; bounds memory, over all endpoints.

    Example:
        >>> identify = PhotoIdentifier(model)
        >>> identify(Path("photo.jpg").read_bytes()).prediction.label
    """

    def __init__(self, model: FlowerClassifier) -> None:
        self.model = model
        self._indices = {label: index for index, label in enumerate(model.labels)}
        self._classify = MicroBatcher(self._classify_batch)
        self._slots = threading.BoundedSemaphore(CONCURRENT_PHOTOS)  # bounds memory
        self.batch_slots = threading.BoundedSemaphore(CONCURRENT_BATCHES)

    def __call__(self, photo: bytes) -> Identification:
        """Identify one photo.

        Raises:
            ImageError: If the photo can't be opened.
            InferenceTimeoutError: If the model hangs.
        """
        size, prediction, (outputs, _) = self._run(photo)
        return Identification(prediction, size, self._maps(outputs, prediction))

    def identify_plant(self, photos: Sequence[bytes]) -> PlantIdentification:
        """Identify one plant from several photos of it; copies count once.

        Raises:
            ImageError: If there are none, more than `MAX_PLANT_PHOTOS`, or one can't be opened.
            InferenceTimeoutError: If the model hangs.
        """
        if not 1 <= len(photos) <= MAX_PLANT_PHOTOS:
            raise ImageError(f"Send between 1 and {MAX_PLANT_PHOTOS} photos, not {len(photos)}.")

        def run(number: int) -> _Result:
            try:
                return self._run(photos[number])
            except ImageError as error:
                raise ImageError(f"Photo {number + 1}: {error}") from None

        with ThreadPoolExecutor(len(photos)) as threads:  # so that they share a forward pass
            results = list(threads.map(run, range(len(photos))))
        model, opened = self.model, [photo for _, _, photo in results]
        plant = make_plant_prediction(opened, model.config, model.rejection, top_k=TOP_K)
        evidence = [
            Identification(prediction, size, self._maps(photo.outputs, plant))
            for size, prediction, photo in results
        ]
        return PlantIdentification(plant, evidence)

    def _run(self, photo: bytes) -> "_Result":
        with self._slots:
            transform = self.model.photo_transform
            picture = open_image(photo, short_side=transform.short_side)
            pixels = transform.to_pixels(picture)
            prediction, outputs = self._classify(pixels)
        return picture.size, prediction, PlantPhoto(outputs, pixels_digest(pixels))

    def _classify_batch(self, pixels: Sequence[np.ndarray]) -> list[tuple[Prediction, Outputs]]:
        outputs = self.model.runtime(np.stack(pixels))
        predictions = self.model.to_predictions(outputs, top_k=TOP_K)
        return [(prediction, _one(outputs, index)) for index, prediction in enumerate(predictions)]

    def _maps(self, outputs: Outputs, prediction: Prediction) -> dict[str, np.ndarray]:
        if outputs.maps is None:
            return {}
        shown = [label for label, probability in prediction.top if probability >= MIN_SHOWN]
        labels = shown or [prediction.label]
        return {label: outputs.maps[0, self._indices[label]] for label in labels}


def _one(outputs: Outputs, index: int) -> Outputs:
    """Return a copy of the outputs for one photo of a batch, which it would keep in memory."""
    row = slice(index, index + 1)
    maps = None if outputs.maps is None else outputs.maps[row].copy()
    return Outputs(outputs.logits[row].copy(), outputs.features[row].copy(), maps)


_Result = tuple[tuple[int, int], Prediction, PlantPhoto]  # of a photo, with its size
