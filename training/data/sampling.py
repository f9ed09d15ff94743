"""The photos of a run, and the class-balanced, reproducible sampling of its epochs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from flower_model.errors import DataError, shorten
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.outliers import Outliers, training_outliers
from training.data.sources import check_classes, digest, gather
from training.data.streaming import StreamedPhotos, open_stream
from training.recipe import Data


@dataclass(frozen=True)
class Photos:
    """The training and validation photos of a run.

    Attributes:
        labels: Class names in the order of the model's outputs.
        train: The training photos; a sample of them if they are streamed.
        stream: All training photos if they are streamed.
        outliers: Photos of no class to train on.
    """

    labels: list[str]
    train: DecodedPhotos
    val: DecodedPhotos
    stream: StreamedPhotos | None = None
    outliers: Outliers = field(default_factory=Outliers)

    @cached_property
    def train_targets(self) -> np.ndarray:
        """(photos,) int64 class indices of the training photos."""
        return self.train.targets(self.labels)

    @cached_property
    def val_targets(self) -> np.ndarray:
        """(photos,) int64 class indices of the validation photos."""
        return self.val.targets(self.labels)

    @property
    def count(self) -> int:
        """Number of training photos."""
        return len(self.train if self.stream is None else self.stream)

    @property
    def train_groups(self) -> np.ndarray:
        """(photos,) int64, equal for training photos of the same class and source."""
        names = [f"{photo.label}\n{photo.source}" for photo in self.train.photos]
        return np.unique(names, return_inverse=True)[1]


def load_photos(data: Data, root: Path, short_side: int) -> Photos:
    """Gather and decode the photos of a recipe; print their numbers and the unreadable photos.

    Raises:
        DataError: As `gather` does; also if a class has no readable photo, or none in the sample of a
            stream.
    """
    train, val = gather(data, root)
    decoded_train = decode_photos(train, short_side)
    decoded_val = decode_photos(val, short_side)
    check_classes(decoded_train.photos, decoded_val.photos)
    unreadable = {photo.label for photo in train} - {photo.label for photo in decoded_train.photos}
    if unreadable:
        raise DataError(
            f"No photo of class '{shorten(min(unreadable))}' can be opened: replace its files."
        )
    decoded_train.print_skipped()
    decoded_val.print_skipped()
    labels = sorted({photo.label for photo in decoded_train.photos})
    stream = open_stream(data, root, frozenset(digest(photo.path) for photo in val))
    # Both number the classes in the order of their labels.
    if stream is not None and (unequal := set(labels) ^ set(stream.counts)):
        raise DataError(
            f"Class '{shorten(min(unequal))}' of the stream has no usable photo in its sample: replace "
            "photos that can't be opened or are copies of held-out photos."
        )
    photos = Photos(
        labels,
        decoded_train,
        decoded_val,
        stream,
        training_outliers(data, root, short_side),
    )
    print(
        f"{len(labels)} classes, {photos.count} photos to train on, "
        f"{len(decoded_val)} held out, {len(decoded_train.skipped + decoded_val.skipped)} skipped."
    )
    return photos


class TransformedPhotos(Dataset[tuple[Any, int]]):
    """Pairs (transformed photo, class index)."""

    def __init__(self, decoded: DecodedPhotos, targets: np.ndarray, transform: Any) -> None:
        self.decoded, self.targets, self.transform = decoded, targets, transform

    def __len__(self) -> int:
        return len(self.decoded)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self.decoded.image(index)), int(self.targets[index])


class EpochPhotos(Dataset[tuple[Any, int]]):
    """The photos of one epoch in sampled order, with reproducible augmentation.

    Each item is computed with random generators seeded from the seed and the item's position, so it
    doesn't depend on the process or worker; the global generators are restored afterwards.
    """

    def __init__(self, photos: Dataset[tuple[Any, int]], order: Sequence[int], seed: int) -> None:
        self.photos, self.order, self.seed = photos, order, seed

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[Any, int]:
        seed = int(np.random.SeedSequence((self.seed, position)).generate_state(1)[0])
        python, numpy = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(devices=[]):
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)
            item = self.photos[self.order[position]]
        random.setstate(python)
        np.random.set_state(numpy)
        return item


def balanced_order(targets: np.ndarray, balance: float, rng: np.random.Generator) -> list[int]:
    """Draw the photos of an epoch, as many as there are, by systematic resampling.

    A photo with 2.3 expected draws is drawn 2 or 3 times, and every photo with at least one expected
    draw appears in every epoch (unlike torch's WeightedRandomSampler, whose draws are independent).

    Args:
        targets: (photos,) int; photos with the same number share a class.
        balance: The recipe's `data.balance`, in [0, 1].
        rng: Determines the draws.
    """
    count = len(targets)
    order = rng.permutation(count)
    weights = class_weights(targets, balance)[order]
    edges = np.cumsum(weights) / weights.sum() * count
    drawn = order[np.searchsorted(edges, np.arange(count) + rng.random())]
    return rng.permutation(drawn).tolist()


def class_weights(targets: np.ndarray, balance: float) -> np.ndarray:
    """Return sampling weights (photos,): (size of the photo's class) ** -balance."""
    return np.bincount(targets)[targets].astype(float) ** -balance
