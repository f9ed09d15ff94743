"""Pictures that show no flower: the user's photos of other things, and what can be made of nothing.

A rule fitted on photos alone takes plain colours, text and leaves for flowers, because hardly any
photo is so empty or so green. Nobody has to collect these: they are drawn here, and foliage is cut
from between the flowers of the training photos.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flower_model.errors import DataError
from training.data.decoded import DecodedPhotos
from training.data.sources import Photo

WIDTH, HEIGHT = 320, 280
EACH = 40  # drawn pictures of a kind
FOLIAGE = 300  # pieces at most
WORDS = ["the", "flower", "of", "a", "picture", "is", "not", "what", "this", "says"]


def not_flowers(folder: Path) -> list[Photo]:
    """All files of a folder, at any depth.

    Raises:
        DataError: If there are none.
    """
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("."))
    if not files:
        raise DataError(f"'{folder}' holds no photos of other things: check --not-flowers.")
    return [Photo(file, "") for file in files]


def drawn_pictures(each: int = EACH, seed: int = 0) -> list[np.ndarray]:
    """Plain colours, gradients, noise, text and shapes.

    Args:
        each: Pictures of a kind.
        seed: Other seeds draw other pictures.

    Returns:
        Arrays (height, width, 3) uint8.
    """
    kinds = (_plain, _gradient, _noise, _text, _shapes)
    return [
        np.asarray(draw(np.random.default_rng((seed, kind, number))))
        for kind, draw in enumerate(kinds)
        for number in range(each)
    ]


def foliage(photos: DecodedPhotos, seed: int = 0) -> list[np.ndarray]:
    """Green windows of flower photos, one a photo at most: leaves, stalks and lawns.

    Args:
        photos: Photos of flowers.
        seed: Of the order in which the photos are searched.

    Returns:
        At most `FOLIAGE` arrays (side, side, 3) uint8, each nearly half as wide as its photo.
    """
    pieces: list[np.ndarray] = []
    for index in np.random.default_rng(seed).permutation(len(photos)):
        window = _greenest(photos.image(index))
        if window is not None:
            pieces.append(window)
        if len(pieces) == FOLIAGE:
            break
    return pieces


def as_photos(pictures: Sequence[np.ndarray]) -> DecodedPhotos:
    """Pictures that were never files, as `predict_photos` takes them."""
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
