"""One answer from several photos of one plant."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from flower_model.confidence import log_probabilities
from flower_model.config import ModelConfig
from flower_model.errors import FlowerModelError, ImageError
from flower_model.photos.prefetch import answers_or_error, predict_batches
from flower_model.prediction import Prediction, PredictionDict, make_predictions, reaches
from flower_model.rejection import Rejection
from flower_model.runtimes.base import Outputs, Runtime

# Exponent of the number of photos: 1 would take photos of a plant for independent evidence, 0 for
# copies of one photo. On 61 real series the log loss is lowest near 0.25 for two photos and near 1 for
# three (`python -m benchmarks.plants`).
INDEPENDENCE = 0.5
BATCH_SIZE = 16

Photo = TypeVar("Photo")


class PlantPredictionDict(PredictionDict):
    """A `PlantPrediction` as JSON; see its attributes."""

    photos: list[PredictionDict]
    left_out: list[int]
    disagreeing: list[int]
    copies: list[int]


@dataclass(frozen=True)
class PlantPrediction(Prediction):
    """The model's answer for a plant of which there are several photos.

    The attributes of `Prediction` are about the plant; it is a flower if any photo shows one, and its
    probability of being known is the mean over the photos that show a flower.

    Attributes:
        photos: The answers to the single photos, in order.
        left_out: Indices of the photos without a flower, which don't count; empty if none shows one.
        disagreeing: Indices of the other photos whose own answer is another label, or another genus if
            only the genus is sure of one of the two; empty if no photo shows a flower.
        copies: Indices of the photos that are identical to an earlier one, which count once.
    """

    photos: tuple[Prediction, ...] = ()
    left_out: tuple[int, ...] = ()
    disagreeing: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()

    def to_dict(self, *, digits: int = 17) -> PlantPredictionDict:
        """Return the prediction as a JSON-serializable dict; see `Prediction.to_dict`."""
        return {
            **super().to_dict(digits=digits),
            "photos": [photo.to_dict(digits=digits) for photo in self.photos],
            "left_out": list(self.left_out),
            "disagreeing": list(self.disagreeing),
            "copies": list(self.copies),
        }


class PlantPhoto(NamedTuple):
    """The outputs for one photo of a plant, and the digest of its pixels, by which copies are found."""

    outputs: Outputs
    digest: bytes


def make_plant_prediction(
    plant_photos: Iterable[PlantPhoto | ImageError],
    config: ModelConfig,
    rejection: Rejection | None,
    *,
    top_k: int,
) -> PlantPrediction:
    """Turn the outputs for photos of one plant into one prediction with `top_k` labels.

    Raises:
        FlowerModelError: If there are no photos.
        ImageError: If one of them is an error; the message has its index.
        ModelError: If a logit or a flower probability is not finite.
    """
    opened = answers_or_error(plant_photos)
    outputs = stack_outputs(photo.outputs for photo in opened)
    digests = [photo.digest for photo in opened]
    photos = make_predictions(outputs, config, rejection, top_k=top_k)
    left_out = [index for index, photo in enumerate(photos) if photo.is_flower is False]
    used = [index for index in range(len(photos)) if index not in left_out]
    if not used:
        left_out, used = used, left_out
    counted = _first_copies(digests, used)
    logits = combine_logits(outputs.logits[counted], config.temperature)[None]  # (1, classes)
    names = make_predictions(Outputs(logits, outputs.features, None), config, None, top_k=top_k)[0]
    flower = [p.flower_probability for p in photos if p.flower_probability is not None]
    known = [p for index in counted if (p := photos[index].known_probability) is not None]
    flower_probability = max(flower, default=None)
    known_probability = float(np.mean(known)) if known else None
    answer = replace(
        names,
        flower_probability=flower_probability,
        is_flower=reaches(flower_probability, rejection),
        known_probability=known_probability,
        is_known=reaches(known_probability, rejection.known if rejection else None),
    )
    plant = PlantPrediction(**vars(answer), photos=tuple(photos), left_out=tuple(left_out))
    disagreeing = tuple(index for index in used if _disagree(photos[index], plant))
    firsts = set(_first_copies(digests, range(len(digests))))
    copies = tuple(index for index in range(len(digests)) if index not in firsts)
    return replace(plant, disagreeing=disagreeing, copies=copies)


def combine_logits(
    logits: np.ndarray, temperature: float, independence: float = INDEPENDENCE
) -> np.ndarray:
    """Return logits of a plant that have the same temperature as those of its photos.

    The calibrated log-probabilities are averaged and multiplied by photos ** `independence`: errors on
    photos of one plant are correlated, so that their product is too confident and their geometric
    mean too little.

    Args:
        logits: (photos, classes).
        temperature: > 0.
        independence: In [0, 1].

    Returns:
        (classes,) float64.
    """
    mean = log_probabilities(logits, temperature).mean(axis=0)
    combined: np.ndarray = temperature * len(logits) ** independence * mean
    return combined


def photo_outputs(
    photos: Iterable[Photo],
    to_pixels: Callable[[Photo], np.ndarray],
    runtime: Runtime,
    *,
    batch_size: int = BATCH_SIZE,
) -> Generator[Outputs | ImageError]:
    """Yield the outputs for each photo, without activation maps, or the error of opening it."""

    return predict_batches(
        photos, to_pixels, lambda pixels: _rows(runtime(pixels)), batch_size=batch_size
    )


def open_plant_photos(
    photos: Iterable[Photo], to_pixels: Callable[[Photo], np.ndarray], runtime: Runtime
) -> Generator[PlantPhoto | ImageError]:
    """Yield each photo of a plant for `make_plant_prediction`, or the error of opening it."""

    def run(pixels: np.ndarray) -> list[PlantPhoto]:
        return list(map(PlantPhoto, _rows(runtime(pixels)), map(pixels_digest, pixels)))

    return predict_batches(photos, to_pixels, run, batch_size=BATCH_SIZE)


def pixels_digest(pixels: np.ndarray) -> bytes:
    """Return the digest of a photo's pixels as the network gets them, the same for copies."""
    return hashlib.sha256(pixels.tobytes()).digest()


def stack_outputs(photos: Iterable[Outputs | ImageError]) -> Outputs:
    """Return the outputs for several photos as one batch.

    Raises:
        FlowerModelError: If there are no photos.
        ImageError: If one of them is an error; the message has its index.
    """
    rows = answers_or_error(photos)
    if not rows:
        raise FlowerModelError("There are no photos of the plant: pass at least one.")
    return Outputs(
        np.concatenate([row.logits for row in rows]),
        np.concatenate([row.features for row in rows]),
        None,
    )


def _rows(outputs: Outputs) -> list[Outputs]:
    logits, features, _ = outputs
    return [Outputs(logits[i : i + 1], features[i : i + 1], None) for i in range(len(logits))]


def _first_copies(digests: Sequence[bytes], indices: Iterable[int]) -> list[int]:
    """Return those of some photos that are no copies of an earlier one of them."""
    first: dict[bytes, int] = {}
    for index in indices:
        first.setdefault(digests[index], index)
    return list(first.values())


def _disagree(photo: Prediction, plant: Prediction) -> bool:
    if plant.is_flower is False or plant.label == photo.label or plant.answer == photo.answer:
        return False
    if (plant.sure_genus or photo.sure_genus) and plant.genus and photo.genus:
        return plant.genus[0] != photo.genus[0]
    return True
