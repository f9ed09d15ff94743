"""Photos from files to batches: decode once, transform, draw."""

import math
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from accelerate.utils import tqdm
from PIL import Image
from torch.utils.data import Dataset, Sampler

from flower_model.errors import DataError, ImageError
from flower_model.photos.decode import open_image
from training.decoded_cache import read_set, set_name, write_set
from training.recipe import Data
from training.sources import Photo, check_classes, digest, gather
from training.stream import StreamedPhotos, open_stream


@dataclass(frozen=True)
class DecodedPhotos:
    """Photos that open, with their pictures decoded where there is room for these.

    Attributes:
        photos: The photos, unreadable ones left out.
        pictures: RGB arrays (height, width, 3) uint8; None for one that is decoded when asked for.
        rows: Where in `pictures` the picture of each photo is.
        short_side: Of the pictures, at most; pixels.
        skipped: One sentence for each photo that does not open.
    """

    photos: list[Photo]
    pictures: Sequence[np.ndarray | None]
    rows: list[int]
    short_side: int
    skipped: list[str]

    def __len__(self) -> int:
        return len(self.photos)

    def picture(self, index: int) -> Image.Image:
        """The photo as RGB picture, its short side at most `short_side`."""
        array = self.pictures[self.rows[index]]
        if array is None:
            return _shrink(open_image(self.photos[index].path), self.short_side)
        return Image.fromarray(array)

    def sample(self, count: int, seed: int = 0) -> "DecodedPhotos":
        """At most `count` of the photos, drawn at random."""
        drawn = np.random.default_rng(seed).permutation(len(self))[:count]
        return replace(
            self,
            photos=[self.photos[index] for index in drawn],
            rows=[self.rows[index] for index in drawn],
        )

    def share(self, process: int, processes: int) -> "DecodedPhotos":
        """Every so manieth of the photos, beginning with number `process`."""
        mine = slice(process, None, processes)
        return replace(self, photos=self.photos[mine], rows=self.rows[mine])

    def targets(self, labels: Sequence[str]) -> np.ndarray:
        """(photos,) int64 class indices in the order of `labels`."""
        index = {label: i for i, label in enumerate(labels)}
        return np.array([index[photo.label] for photo in self.photos], dtype=np.int64)


def decode_photos(
    photos: Sequence[Photo], short_side: int, title: str, *, keep: bool = True
) -> DecodedPhotos:
    """Opens every photo once, so that a broken one is found now and not an hour into training.

    Args:
        photos: What to open.
        short_side: Larger photos are shrunk to it; pixels.
        title: Of the progress bar.
        keep: Whether the next run finds the pictures on disk, where this has room for them.
    """
    expected = len(photos) * short_side * short_side * 4.5  # bytes
    in_memory = expected < psutil.virtual_memory().available / 4
    with ThreadPoolExecutor() as pool:

        def decoded() -> Iterator[np.ndarray | None]:
            results = pool.map(partial(_decode, short_side=short_side), photos)
            yield from tqdm(results, title, len(photos), unit=" photos", leave=False)

        mapped = None
        if keep:
            name = set_name(pool.map(digest, [photo.path for photo in photos]), short_side)
            mapped = read_set(name) or write_set(name, decoded(), expected)
        if mapped is not None:
            pictures: Sequence[np.ndarray | None] = mapped
            opens = [picture is not None for picture in mapped]
        else:
            pictures, opens = [], []
            for picture in decoded():
                pictures.append(picture if in_memory else None)
                opens.append(picture is not None)
    rows = [row for row in range(len(photos)) if opens[row]]
    skipped = [_why(photo) for photo, opened in zip(photos, opens, strict=True) if not opened]
    return DecodedPhotos([photos[row] for row in rows], pictures, rows, short_side, skipped)


def _decode(photo: Photo, short_side: int) -> np.ndarray | None:
    try:
        return np.asarray(_shrink(open_image(photo.path), short_side))
    except ImageError:
        return None


def _why(photo: Photo) -> str:
    try:
        open_image(photo.path)
    except ImageError as error:
        return str(error)
    return f"'{photo.path}' could not be opened a moment ago."


def _shrink(picture: Image.Image, short_side: int) -> Image.Image:
    width, height = picture.size
    scale = short_side / min(width, height)
    if scale >= 1:
        return picture
    # Rounded as torchvision's Resize rounds, so that a later Resize to this side changes nothing.
    size = (
        (short_side, int(short_side * height / width))
        if width <= height
        else (int(short_side * width / height), short_side)
    )
    return picture.resize(size, Image.Resampling.BICUBIC)


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


def resize_side(test_size: int, crop: float) -> int:
    """Short side in pixels to which timm's evaluation transform resizes before its centre crop."""
    return math.floor(test_size / crop)
