"""Synthetic images without a flower, on which the rejection rule is fitted besides the negatives.

A rule that was fitted to photos alone accepts plain colours, text and leaves, because hardly any photo is
that empty or that green. Such images need not be collected: they are drawn here, and foliage is cropped
from the training photos.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.decoded import DecodedPhotos
from training.data.folders import Photo

WIDTH, HEIGHT = 320, 280
PER_KIND = 40  # synthetic images of each kind
MAX_FOLIAGE = 300  # crops
WORDS = ["the", "flower", "of", "a", "picture", "is", "not", "what", "this", "says"]


def drawn_pictures(per_kind: int = PER_KIND, seed: int = 0) -> list[np.ndarray]:
    """Draw plain colours, gradients, noise, text and shapes: arrays (height, width, 3) uint8."""
    kinds = (_plain, _gradient, _noise, _text, _shapes)
    return [
        np.asarray(draw(np.random.default_rng((seed, kind, number))))
        for kind, draw in enumerate(kinds)
        for number in range(per_kind)
    ]


def foliage(photos: DecodedPhotos) -> list[np.ndarray]:
    """Crop leaves, stems and lawns from flower photos, at most one crop per photo.

    Returns:
        At most `MAX_FOLIAGE` arrays (side, side, 3) uint8, with 45 % of the short side of their photos.
    """
    order = np.random.default_rng(0).permutation(len(photos))
    windows = (_greenest(photos.image(index)) for index in order)
    return list(islice((window for window in windows if window is not None), MAX_FOLIAGE))


def as_photos(pictures: Sequence[np.ndarray]) -> DecodedPhotos:
    """Wrap images that are not files as decoded photos."""
    return DecodedPhotos(
        [Photo(Path(), "")] * len(pictures), list(pictures), [*range(len(pictures))], 0, []
    )


def _greenest(picture: Image.Image) -> np.ndarray | None:
    pixels = np.asarray(picture)  # (height, width, 3)
    hue, saturation, value = np.moveaxis(np.asarray(picture.convert("HSV"), dtype=int), -1, 0)
    dark = value < 50
    # From yellow-green, where petals end, to blue-green: 65 to 160 of 360 degrees.
    green = (hue >= 46) & (hue <= 113) & (saturation > 40) & ~dark
    side = int(0.45 * min(green.shape))
    best, window = 0.985, None
    for top in np.linspace(0, green.shape[0] - side, 4).astype(int):
        for left in np.linspace(0, green.shape[1] - side, 4).astype(int):
            box = slice(top, top + side), slice(left, left + side)
            share = (green | dark)[box].mean()
            if share > best and green[box].mean() > 0.6:
                best, window = share, pixels[box]
    return window


def _plain(rng: np.random.Generator) -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), _colour(rng))


def _gradient(rng: np.random.Generator) -> Image.Image:
    angle = rng.uniform(0, 2 * np.pi)
    down, across = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    place = across * np.cos(angle) + down * np.sin(angle)
    place = (place - place.min()) / np.ptp(place)
    start, end = rng.integers(0, 256, (2, 3))
    return Image.fromarray((start + (end - start) * place[..., None]).astype(np.uint8))


def _noise(rng: np.random.Generator) -> Image.Image:
    grain = int(2 ** rng.integers(0, 6))  # pixels
    channels = int(rng.choice([1, 3]))
    values = rng.integers(0, 256, (HEIGHT // grain + 1, WIDTH // grain + 1, channels), np.uint8)
    picture = Image.fromarray(np.repeat(values, 3 // channels, axis=2))
    smooth = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.NEAREST
    return picture.resize((WIDTH, HEIGHT), smooth)


def _text(rng: np.random.Generator) -> Image.Image:
    light, dark = _colour(rng, 200, 256), _colour(rng, 0, 90)
    paper, ink = (light, dark) if rng.random() < 0.6 else (dark, light)
    picture = Image.new("RGB", (WIDTH, HEIGHT), paper)
    pen, size = ImageDraw.Draw(picture), int(rng.integers(9, 36))
    for top in range(8, HEIGHT, int(size * 1.4)):
        pen.text((8, top), " ".join(rng.choice(WORDS, 14)), ink, ImageFont.load_default(size))
    return picture


def _shapes(rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), _colour(rng))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.integers(1, 12)):
        (left, right), (top, bottom) = (
            np.sort(rng.integers(0, side, 2)).tolist() for side in (WIDTH, HEIGHT)
        )
        draw = (pen.rectangle, pen.ellipse, pen.line)[rng.integers(3)]
        draw((left, top, right, bottom), fill=_colour(rng))
    return picture


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    red, green, blue = rng.integers(low, high, 3).tolist()
    return red, green, blue
