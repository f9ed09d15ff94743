"""Pictures drawn in code, easy enough for a tiny network to tell apart."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red disc": "crimson", "yellow disc": "gold", "blue disc": "royalblue"}


def draw_photo(colour: str, seed: int) -> Image.Image:
    """A coloured disc somewhere on a noisy meadow, 72 x 64."""
    rng = np.random.default_rng(seed)
    meadow = rng.integers(40, 120, (64, 72, 3)) * np.array([0.6, 1.0, 0.5])
    picture = Image.fromarray(meadow.astype(np.uint8))
    x, y, radius = rng.integers(20, 50), rng.integers(20, 44), rng.integers(10, 18)
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    return picture


def draw_dataset(folder: Path, photos_per_class: int = 16, offset: int = 0) -> Path:
    """A folder of class folders, one per colour; different offsets draw different photos."""
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True)
        for number in range(photos_per_class):
            seed = offset + number + 1000 * list(COLOURS).index(label)
            draw_photo(colour, seed).save(folder / label / f"{number:03}.png")
    return folder
