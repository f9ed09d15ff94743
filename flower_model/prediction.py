"""What the model says about a photo."""

from dataclasses import dataclass

import numpy as np

from flower_model.confidence import probabilities
from flower_model.config import ModelConfig
from flower_model.errors import FlowerModelError, ModelError
from flower_model.rejection import Rejection
from flower_model.runtimes.base import Outputs


@dataclass(frozen=True)
class Prediction:
    """What the model says about one photo.

    Attributes:
        top: (label, probability) pairs, best first; probabilities are calibrated, in [0, 1].
        flower_probability: That there is a flower at all, in [0, 1], were half of all photos of
            flowers; None if the model can't tell.
        is_flower: Whether it is high enough to call it one (the least depends on the model: it is
            set so as to lose few flowers, and need not be a half); None if the model can't tell.
    """

    top: tuple[tuple[str, float], ...]
    flower_probability: float | None = None
    is_flower: bool | None = None

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Calibrated probability of `label`, in [0, 1]."""
        return self.top[0][1]


def read_outputs(
    outputs: Outputs, config: ModelConfig, rejection: Rejection | None, *, top_k: int
) -> list[Prediction]:
    """What a network's outputs say about each photo.

    Args:
        outputs: Logits and features of the photos.
        config: Labels and temperature.
        rejection: The rule that says whether there is a flower at all, if there is one.
        top_k: How many labels to give.

    Raises:
        ModelError: If a logit or a flower probability is no number.
    """
    _check_numbers(outputs.logits)
    probs = probabilities(outputs.logits, config.temperature)
    best = (-probs).argsort(axis=1)[:, :top_k]
    tops = [
        tuple((config.labels[i], float(row[i])) for i in order)
        for row, order in zip(probs, best, strict=True)
    ]
    if rejection is None:
        return [Prediction(top) for top in tops]
    flower = rejection.flower_probability(outputs.features)  # (photos,)
    _check_numbers(flower)
    return [
        Prediction(top, p, p >= rejection.threshold)
        for top, p in zip(tops, flower.tolist(), strict=True)
    ]


def check_at_least_one(**numbers: int) -> None:
    """Raises FlowerModelError for a number below 1, by its name."""
    for name, number in numbers.items():
        if number < 1:
            raise FlowerModelError(f"{name} must be at least 1, not {number}.")


def _check_numbers(answer: np.ndarray) -> None:
    if not np.isfinite(answer).all():
        raise ModelError("The network's answer is no number: fetch the model again.")
