"""One photo's answer and what it rests on, asked for by many visitors at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flower_model.classifier import FlowerClassifier
from flower_model.demo.micro_batching import SharedPasses
from flower_model.prediction import Prediction

TOP_K = 5


@dataclass(frozen=True)
class Finding:
    """What the model says about one photo and where it saw it.

    Attributes:
        answer: The prediction, with the `TOP_K` best labels.
        maps: Label -> (height, width) class activation map, for the labels of `answer.top`; empty
            if the network has none.
    """

    answer: Prediction
    maps: dict[str, np.ndarray]


class Finder:
    """Asks a model about single photos, from many threads, in shared passes.

    Example:
        >>> find = Finder(model)
        >>> find(Path("photo.jpg").read_bytes()).answer.label
        'sunflower'
    """

    def __init__(self, model: FlowerClassifier) -> None:
        self.model = model
        self._index = {label: index for index, label in enumerate(model.labels)}
        self._pass = SharedPasses(self._find)

    def __call__(self, photo: bytes) -> Finding:
        """Looks at one photo.

        Raises:
            ImageError: If it can't be opened.
        """
        return self._pass(self.model.to_pixels(photo))

    def _find(self, pixels: Sequence[np.ndarray]) -> list[Finding]:
        outputs = self.model.runtime(np.stack(pixels))
        answers = self.model.to_predictions(outputs, top_k=TOP_K)
        if outputs.maps is None:
            return [Finding(answer, {}) for answer in answers]
        return [
            Finding(answer, {label: maps[self._index[label]].copy() for label, _ in answer.top})
            for answer, maps in zip(answers, outputs.maps, strict=True)
        ]
