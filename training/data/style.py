"""Training photos made to look like snapshots: flowers small, many or among clutter, files small and worn.

A network that sees only some classes in such photos takes the style for the class ("shortcut learning",
Geirhos et al. 2020). Giving every class every style breaks that link.
"""

import io
import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from training.recipe import Finetune

Background = Callable[[], Image.Image]
"""Draws a photo without a flower."""


class StyleShift:
    """A random transform of a PIL picture, applied before the crop.

    Args:
        settings: The probabilities `zoom_out`, `tile` and `degrade`.
        background: Draws what a flower that is zoomed out lies on; None uses the photo itself, blurred.
    """

    def __init__(self, settings: Finetune, background: Background | None = None) -> None:
        self.settings, self.background = settings, background

    def __call__(self, picture: Image.Image) -> Image.Image:
        """The picture, its style changed with the recipe's probabilities; drawn from `random`."""
        if random.random() < self.settings.tile:
            picture = tile(picture)
        elif random.random() < self.settings.zoom_out:
            picture = zoom_out(picture, self.background() if self.background else None)
        if random.random() < self.settings.degrade:
            picture = degrade(picture)
        return picture


def zoom_out(picture: Image.Image, background: Image.Image | None = None) -> Image.Image:
    """The picture at 30 to 75 % of its size somewhere on a background of the same size.

    Args:
        picture: RGB, any size.
        background: RGB, any size; None is the picture itself, blurred beyond recognition.
    """
    size = picture.size
    if background is None:
        background = picture.filter(ImageFilter.GaussianBlur(min(size) / 8))
    canvas = ImageOps.fit(background, size, Image.Resampling.BILINEAR)
    scale = random.uniform(0.3, 0.75)
    small = picture.resize(
        [max(1, round(side * scale)) for side in size], Image.Resampling.BILINEAR
    )
    corner = random.randint(0, size[0] - small.width), random.randint(0, size[1] - small.height)
    canvas.paste(small, corner, _mask(small.size))
    return canvas


def tile(picture: Image.Image) -> Image.Image:
    """Two by two or three by three copies of the picture, flipped and cropped at random: many flowers."""
    count = random.choice([2, 2, 3])
    width, height = picture.size
    cell = max(1, width // count), max(1, height // count)
    canvas = Image.new("RGB", (cell[0] * count, cell[1] * count))
    for index in range(count * count):
        share = random.uniform(0.6, 1.0)
        left = random.uniform(0, 1 - share) * width
        top = random.uniform(0, 1 - share) * height
        box = (left, top, left + share * width, top + share * height)
        part = picture.resize(cell, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        if random.random() < 0.5:
            part = ImageOps.mirror(part)
        canvas.paste(part, (index % count * cell[0], index // count * cell[1]))
    return canvas


def degrade(picture: Image.Image) -> Image.Image:
    """A worn copy: a thumbnail of 64 px or more, blur, and JPEG artefacts, each by chance."""
    if random.random() < 0.6:
        side = random.randint(64, 180)
        if side < min(picture.size):
            scale = side / min(picture.size)
            small = [max(1, round(length * scale)) for length in picture.size]
            picture = picture.resize(small, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if random.random() < 0.3:
        radius = random.uniform(0.3, 1.5) * min(picture.size) / 200
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    if random.random() < 0.5:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=random.randint(20, 80))
        picture = Image.open(file).convert("RGB")
    return picture


def _mask(size: tuple[int, int]) -> Image.Image:
    """Where the flower covers the background: all of it, or an ellipse with a soft edge."""
    mask = Image.new("L", size, 255)
    if random.random() < 0.6:
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
        mask = mask.filter(ImageFilter.GaussianBlur(min(size) / random.uniform(10, 40)))
    return mask
