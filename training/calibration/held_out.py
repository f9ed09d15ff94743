"""Model outputs on held-out photos, with their cross-validation folds."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from flower_model import FlowerClassifier
from training.augmentation.style import snapshot
from training.calibration.rejection_fit import FOLDS
from training.data.decoded import DecodedPhotos
from training.data.sources import digest, folds
from training.engine.inference import predict_photos


@dataclass(frozen=True)
class HeldOut:
    """A model's outputs on photos that it was not trained on.

    Attributes:
        logits: (photos, classes) float32.
        features: (photos, channels) float32.
        targets: (photos,) int64 class indices; empty for negatives.
        fold: (photos,) cross-validation fold, 0 to FOLDS - 1; copies have the same.
        digests: (photos,) hashes of the files, equal for copies.
    """

    logits: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    fold: np.ndarray
    digests: np.ndarray

    def scaled(self, temperatures: np.ndarray) -> np.ndarray:
        """Return the logits (photos, classes), divided by the temperature of each photo's fold."""
        scaled: np.ndarray = self.logits / temperatures[self.fold][:, None]
        return scaled


def predict_held_out(
    model: FlowerClassifier, photos: DecodedPhotos, *, labelled: bool = True
) -> HeldOut:
    """Return the outputs on photos; those of negatives have no targets (`labelled=False`)."""
    logits, features = predict_photos(model.runtime, photos, title="calibrating")
    targets = photos.targets(model.labels) if labelled else np.empty(0, np.int64)
    return HeldOut(logits, features, targets, folds(photos.photos, FOLDS), digests_of(photos))


def predict_snapshots(model: FlowerClassifier, photos: DecodedPhotos) -> HeldOut:
    """Return the outputs on one copy of each photo in a random style; see `training.augmentation.style`."""
    random.seed(0)
    # Not on negatives as backgrounds: the rejection rule is fitted to those.
    copies = [np.asarray(snapshot(photos.image(index))) for index in range(len(photos))]
    return predict_held_out(model, replace(photos, images=copies, rows=[*range(len(copies))]))


def join(parts: Sequence[HeldOut]) -> HeldOut:
    """Concatenate the outputs of several sources."""
    names = [field.name for field in fields(HeldOut)]
    return HeldOut(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def split_features(parts: Sequence[HeldOut]) -> list[np.ndarray]:
    """Return the features (photos, channels) of each fold, over all sources, without copies."""
    first = [np.sort(np.unique(part.digests, return_index=True)[1]) for part in parts]
    pairs = list(zip(parts, first, strict=True))
    features = np.concatenate([part.features[rows] for part, rows in pairs])
    fold = np.concatenate([part.fold[rows] for part, rows in pairs])
    return [features[fold == f] for f in range(FOLDS)]


def digests_of(photos: DecodedPhotos) -> np.ndarray:
    """Return the hashes (photos,) of the files."""
    return np.array([digest(photo.path) for photo in photos.photos])
