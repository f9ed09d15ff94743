"""Style augmentation: training photos turned into snapshots with small, many or cluttered flowers.

If only some classes appear in a certain style, the network learns the style as a feature of those classes
(shortcut learning, Geirhos et al. 2020). Showing every class in every style breaks that link.
"""

import io
import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from training.recipe import Finetune

Background = Callable[[], Image.Image]
"""Draws a non-flower image."""


class StyleShift:
    """Random style transform of a PIL image, applied before the random crop.

    Args:
        settings: The probabilities `zoom_out`, `tile` and `degrade`.
        background: Draws the background of photos that are zoomed out; None uses the blurred photo.
    """

    def __init__(self, settings: Finetune, background: Background | None = None) -> None:
        self.settings, self.background = settings, background

    def __call__(self, image: Image.Image) -> Image.Image:
        """Apply `zoom_out`, `tile` and `degrade` with their probabilities, drawn from Python's `random`."""
        if random.random() < self.settings.tile:
            image = tile(image)
        elif random.random() < self.settings.zoom_out:
            image = zoom_out(image, self.background() if self.background else None)
        if random.random() < self.settings.degrade:
            image = degrade(image)
        return image


def snapshot(image: Image.Image) -> Image.Image:
    """Apply one of `zoom_out`, `tile` and `degrade`, drawn from Python's `random`."""
    return random.choice((zoom_out, tile, degrade))(image)


def zoom_out(image: Image.Image, background: Image.Image | None = None) -> Image.Image:
    """Shrink an image to 30 to 75 % and paste it at a random place on a background of its former size.

    Args:
        image: RGB image.
        background: RGB image of any size; None uses the image itself, blurred beyond recognition.
    """
    size = image.size
    if background is None:
        background = image.filter(ImageFilter.GaussianBlur(min(size) / 8))
    canvas = ImageOps.fit(background, size, Image.Resampling.BILINEAR)
    scale = random.uniform(0.3, 0.75)
    small = image.resize([max(1, round(side * scale)) for side in size], Image.Resampling.BILINEAR)
    corner = random.randint(0, size[0] - small.width), random.randint(0, size[1] - small.height)
    canvas.paste(small, corner, _mask(small.size))
    return canvas


def tile(image: Image.Image) -> Image.Image:
    """Tile a 2 × 2 or 3 × 3 grid with random crops of an image, to imitate photos of many flowers."""
    count = random.choice([2, 2, 3])
    width, height = image.size
    cell = max(1, width // count), max(1, height // count)
    canvas = Image.new("RGB", (cell[0] * count, cell[1] * count))
    for index in range(count * count):
        share = random.uniform(0.6, 1.0)
        left = random.uniform(0, 1 - share) * width
        top = random.uniform(0, 1 - share) * height
        box = (left, top, left + share * width, top + share * height)
        part = image.resize(cell, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        if random.random() < 0.5:
            part = ImageOps.mirror(part)
        canvas.paste(part, (index % count * cell[0], index // count * cell[1]))
    return canvas


def degrade(image: Image.Image) -> Image.Image:
    """Degrade an image at random: thumbnail resolution (64 to 180 px), Gaussian blur, JPEG artefacts."""
    if random.random() < 0.6:
        side = random.randint(64, 180)
        if side < min(image.size):
            scale = side / min(image.size)
            small = [max(1, round(length * scale)) for length in image.size]
            image = image.resize(small, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if random.random() < 0.3:
        radius = random.uniform(0.3, 1.5) * min(image.size) / 200
        image = image.filter(ImageFilter.GaussianBlur(radius))
    if random.random() < 0.5:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=random.randint(20, 80))
        image = Image.open(file).convert("RGB")
    return image


def _mask(size: tuple[int, int]) -> Image.Image:
    """Return the alpha mask of a pasted image: opaque, or an ellipse with a soft edge."""
    mask = Image.new("L", size, 255)
    if random.random() < 0.6:
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
        mask = mask.filter(ImageFilter.GaussianBlur(min(size) / random.uniform(10, 40)))
    return mask
