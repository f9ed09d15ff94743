"""The photos of a run, and which of them an epoch draws, in which order and with which randomness."""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from flower_model.errors import DataError
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.sources import check_classes, gather
from training.data.streaming import StreamedPhotos, open_stream
from training.recipe import Data


@dataclass(frozen=True)
class Photos:
    """What a run trains on and what it is measured on.

    Attributes:
        labels: Class names in the order of the network's outputs.
        train: Of a stream, some of its photos.
        train_targets, val_targets: (photos,) int64 class indices.
        stream: All training photos, where they are more than a disk holds.
    """

    labels: list[str]
    train: DecodedPhotos
    train_targets: np.ndarray
    val: DecodedPhotos
    val_targets: np.ndarray
    stream: StreamedPhotos | None = None

    @property
    def count(self) -> int:
        """How many photos there are to train on."""
        return len(self.train if self.stream is None else self.stream)


def load_photos(data: Data, root: Path, short_side: int) -> Photos:
    """Gathers and decodes a recipe's photos; prints what was found and what was skipped.

    Raises:
        DataError: As `gather` does; also if the readable photos leave a class empty.
    """
    train, val = gather(data, root)
    decoded_train = decode_photos(train, short_side, "decoding")
    decoded_val = decode_photos(val, short_side, "decoding")
    check_classes(decoded_train.photos, decoded_val.photos)
    unread = {photo.label for photo in train} - {photo.label for photo in decoded_train.photos}
    if unread:
        raise DataError(f"No photo of class '{min(unread)}' can be opened: replace them.")
    skipped = decoded_train.skipped + decoded_val.skipped
    for sentence in skipped:
        print(f"skipped: {sentence}", file=sys.stderr)
    labels = sorted({photo.label for photo in decoded_train.photos})
    photos = Photos(
        labels,
        decoded_train,
        decoded_train.targets(labels),
        decoded_val,
        decoded_val.targets(labels),
        open_stream(data, root),
    )
    print(
        f"{len(labels)} classes, {photos.count} photos to train on, "
        f"{len(decoded_val)} held out, {len(skipped)} skipped."
    )
    return photos


class TransformedPhotos(Dataset[tuple[Any, int]]):
    """(transformed picture, class index) of each photo."""

    def __init__(self, decoded: DecodedPhotos, targets: np.ndarray, transform: Any) -> None:
        self.decoded, self.targets, self.transform = decoded, targets, transform

    def __len__(self) -> int:
        return len(self.decoded)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self.decoded.picture(index)), int(self.targets[index])


class DrawnPhotos(Dataset[tuple[Any, int]]):
    """The photos of one epoch in the order in which they were drawn.

    The randomness of each draw follows from the seed and its place in the epoch, so that it is the
    same whichever process and worker transforms the photo, and disturbs nobody else's.
    """

    def __init__(self, photos: Dataset[tuple[Any, int]], order: Sequence[int], seed: int) -> None:
        self.photos, self.order, self.seed = photos, order, seed

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        seed = int(np.random.SeedSequence((self.seed, place)).generate_state(1)[0])
        python, numpy = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(devices=[]):
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)
            item = self.photos[self.order[place]]
        random.setstate(python)
        np.random.set_state(numpy)
        return item


class BalancedSampler(Sampler[int]):
    """Draws one epoch so that large classes do not drown the small ones.

    Systematic resampling: a photo whose expected number of draws is 2.3 is drawn 2 or 3 times,
    and every photo expected once or more is seen in every epoch.
    """

    def __init__(self, targets: np.ndarray, balance: float, seed: int, epoch: int) -> None:
        self.targets, self.balance = targets, balance
        self.rng = np.random.default_rng((seed, epoch))

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[int]:
        count = len(self.targets)
        order = self.rng.permutation(count)
        weights = class_weights(self.targets, self.balance)[order]
        edges = np.cumsum(weights) / weights.sum() * count
        drawn = order[np.searchsorted(edges, np.arange(count) + self.rng.random())]
        yield from self.rng.permutation(drawn).tolist()


def class_weights(targets: np.ndarray, balance: float) -> np.ndarray:
    """(photos,) weights, (size of the photo's class) ** -balance."""
    return np.bincount(targets)[targets].astype(float) ** -balance
