"""Identification of single photos for many concurrent visitors."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flower_model.classifier import FlowerClassifier
from flower_model.demo.micro_batching import MicroBatcher
from flower_model.photos.decode import open_image
from flower_model.prediction import Prediction

TOP_K = 5
CONCURRENT_PHOTOS = 16  # decoded or classified at the same time, over all endpoints


@dataclass(frozen=True)
class Identification:
    """Prediction for one photo and the evidence behind it.

    Attributes:
        prediction: The `TOP_K` most probable labels.
        size: (width, height) of the upright photo as decoded, which may be smaller than the file's.
        maps: Label -> (height, width) class activation map, in the order of `prediction.top`; empty
            if the network has no activation maps.
    """

    prediction: Prediction
    size: tuple[int, int]
    maps: dict[str, np.ndarray]


class PhotoIdentifier:
    """Thread-safe, micro-batched identification of single photos.

    Example:
        >>> identify = PhotoIdentifier(model)
        >>> identify(Path("photo.jpg").read_bytes()).prediction.label
    """

    def __init__(self, model: FlowerClassifier) -> None:
        self.model = model
        self._indices = {label: index for index, label in enumerate(model.labels)}
        self._classify = MicroBatcher(self._classify_batch)
        self._slots = threading.BoundedSemaphore(CONCURRENT_PHOTOS)  # bounds memory

    def __call__(self, photo: bytes) -> Identification:
        """Identify one photo.

        Raises:
            ImageError: If the photo can't be opened.
            InferenceTimeoutError: If the model hangs.
        """
        with self._slots:
            transform = self.model.photo_transform
            picture = open_image(photo, short_side=transform.short_side)
            prediction, maps = self._classify(transform.to_pixels(picture))
        return Identification(prediction, picture.size, maps)

    def _classify_batch(
        self, pixels: Sequence[np.ndarray]
    ) -> list[tuple[Prediction, dict[str, np.ndarray]]]:
        outputs = self.model.runtime(np.stack(pixels))
        predictions = self.model.to_predictions(outputs, top_k=TOP_K)
        if outputs.maps is None:
            return [(prediction, {}) for prediction in predictions]
        return [
            (
                prediction,
                {label: maps[self._indices[label]].copy() for label, _ in prediction.top},
            )
            for prediction, maps in zip(predictions, outputs.maps, strict=True)
        ]
