"""Photos decoded once, kept in memory or on disk for every epoch and run."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import psutil
from accelerate.utils import tqdm
from PIL import Image

from flower_model.errors import ImageError
from flower_model.photos.decode import open_image
from training.data.decoded_cache import read_set, set_name, write_set
from training.data.sources import Photo, digest


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


def resize_side(test_size: int, crop: float) -> int:
    """Short side in pixels to which timm's evaluation transform resizes before its centre crop."""
    return math.floor(test_size / crop)
