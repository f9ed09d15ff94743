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


def align_folds(parts: Sequence[HeldOut]) -> list[HeldOut]:
    """Give a photo that occurs in several sources the fold that it has in the first of them."""
    fold_of: dict[str, int] = {}
    for part in reversed(parts):
        fold_of |= dict(zip(part.digests.tolist(), part.fold.tolist(), strict=True))
    folds_of = ([fold_of[copy] for copy in part.digests.tolist()] for part in parts)
    pairs = zip(parts, folds_of, strict=True)
    return [replace(part, fold=np.array(fold, np.int64)) for part, fold in pairs]


def split_features(parts: Sequence[HeldOut]) -> list[np.ndarray]:
    """Return the features (photos, channels) of each fold, over all sources, without copies."""
    whole = join(parts)
    first = np.sort(np.unique(whole.digests, return_index=True)[1])
    features, fold = whole.features[first], whole.fold[first]
    return [features[fold == number] for number in range(FOLDS)]


def digests_of(photos: DecodedPhotos) -> np.ndarray:
    """Return the hashes (photos,) of the files."""
    return np.array([digest(photo.path) for photo in photos.photos])
