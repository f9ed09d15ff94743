"""Decoded photos, kept in memory or in the decoded-photo cache for all epochs and runs."""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import psutil
from accelerate.utils import tqdm
from PIL import Image
from torchvision.transforms.functional import InterpolationMode, resize

from flower_model.cli.common import print_error
from flower_model.errors import ImageError, shorten
from flower_model.photos.decode import open_image
from flower_model.photos.prefetch import prefetch_map
from training.data.decoded_cache import cache_key, load_images, save_images
from training.data.folders import Photo
from training.data.sources import digest

READ_AHEAD = 64  # decoded photos that wait in memory to be stored


@dataclass(frozen=True)
class DecodedPhotos:
    """Readable photos with their decoded images.

    Attributes:
        photos: The photos, without unreadable ones.
        images: RGB arrays (height, width, 3) uint8; None where the image is decoded on each access.
        rows: Index in `images` of each photo.
        short_side: Maximum length of an image's short side in pixels.
        skipped: One sentence for each unreadable photo.
    """

    photos: list[Photo]
    images: Sequence[np.ndarray | None]
    rows: list[int]
    short_side: int
    skipped: list[str]

    def __len__(self) -> int:
        return len(self.photos)

    def image(self, index: int) -> Image.Image:
        """Return a photo as an RGB image whose short side is at most `short_side` pixels."""
        array = self.images[self.rows[index]]
        if array is None:
            return _shrink(open_image(self.photos[index].path), self.short_side)
        return Image.fromarray(array)

    def random_image(self) -> Image.Image:
        """Return one of the images, drawn with Python's `random`."""
        return self.image(random.randrange(len(self)))

    def subset(self, indices: Iterable[int]) -> "DecodedPhotos":
        """Return the photos at `indices`, in that order."""
        kept = list(indices)
        return replace(
            self,
            photos=[self.photos[index] for index in kept],
            rows=[self.rows[index] for index in kept],
        )

    def sample(self, count: int) -> "DecodedPhotos":
        """Return a random sample of at most `count` photos."""
        return self.subset(np.random.default_rng(0).permutation(len(self))[:count])

    def extended(self, others: "DecodedPhotos") -> "DecodedPhotos":
        """Return these photos, then the others."""
        rows = [*self.rows, *(len(self.images) + row for row in others.rows)]
        photos, images = [*self.photos, *others.photos], [*self.images, *others.images]
        return replace(self, photos=photos, images=images, rows=rows)

    def targets(self, labels: Sequence[str]) -> np.ndarray:
        """Return the class indices (photos,) int64 in the order of `labels`."""
        index = {label: i for i, label in enumerate(labels)}
        return np.array([index[photo.label] for photo in self.photos], dtype=np.int64)

    def print_skipped(self) -> None:
        """Print a line on stderr for each unreadable photo."""
        for sentence in self.skipped:
            print_error(f"skipped: {sentence}")


def decode_photos(
    photos: Sequence[Photo], short_side: int, title: str = "decoding", *, cache: bool = True
) -> DecodedPhotos:
    """Open every photo once, so that unreadable files are found before training starts.

    Photos with a longer short side are resized to `short_side` pixels; `title` is that of the progress bar,
    and `cache` uses the decoded-photo cache on disk.
    """
    expected_size = len(photos) * short_side * short_side * 4.5  # bytes
    fits_in_memory = expected_size < psutil.virtual_memory().available / 4

    def decoded() -> Iterator[np.ndarray | None]:
        results = prefetch_map(partial(_decode, short_side=short_side), photos, ahead=READ_AHEAD)
        yield from tqdm(results, title, len(photos), unit=" photos", leave=False)

    cached = None
    if cache:
        with ThreadPoolExecutor() as pool:
            key = cache_key(pool.map(digest, [photo.path for photo in photos]), short_side)
        cached = load_images(key) or save_images(key, decoded(), expected_size)
    if cached is not None:
        images: Sequence[np.ndarray | None] = cached
        readable = [image is not None for image in cached]
    else:
        images, readable = [], []
        for image in decoded():
            images.append(image if fits_in_memory else None)
            readable.append(image is not None)
    rows = [row for row in range(len(photos)) if readable[row]]
    skipped = [_reason(photo) for photo, ok in zip(photos, readable, strict=True) if not ok]
    return DecodedPhotos([photos[row] for row in rows], images, rows, short_side, skipped)


def _decode(photo: Photo, short_side: int) -> np.ndarray | None:
    try:
        return np.asarray(_shrink(open_image(photo.path), short_side))
    except ImageError:
        return None


def _reason(photo: Photo) -> str:
    try:
        open_image(photo.path)
    except ImageError as error:
        return str(error)
    return f"'{shorten(photo.path)}' could not be opened at first, but can be now."


def _shrink(image: Image.Image, short_side: int) -> Image.Image:
    if min(image.size) <= short_side:
        return image
    return resize(image, [short_side], InterpolationMode.BICUBIC)


def resize_side(test_size: int, crop: float) -> int:
    """Return the short side in pixels to which timm's evaluation transform resizes before cropping."""
    return math.floor(test_size / crop)
