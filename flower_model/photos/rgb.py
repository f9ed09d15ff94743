"""Conversion of pictures in any Pillow mode to 8-bit RGB."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

BAND = 4_000_000  # pixels converted at a time, since conversions make several copies


def to_rgb(picture: Image.Image, factor: int = 1) -> Image.Image:
    """Convert a picture to mode "RGB", on a white background if it is transparent.

    Args:
        picture: In any mode: palette, grayscale, CMYK, with transparency, 16-bit or float.
        factor: Reduction of both sides, by averaging blocks of `factor` x `factor` pixels.

    Raises:
        ValueError: If Pillow can't convert the picture's mode to RGB.
    """
    maximum = _maximum(picture)
    size = (-(-picture.width // factor), -(-picture.height // factor))
    whole = None
    for top, band in _bands(picture, factor):
        part = _convert(band, maximum)
        part = part.reduce(factor) if factor > 1 else part
        if part.size == size:
            return part
        whole = whole or Image.new("RGB", size)
        whole.paste(part, (0, top // factor))
    assert whole
    return whole


def _bands(picture: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    rows = max(BAND // picture.width // factor, 1) * factor
    if rows >= picture.height:
        yield 0, picture
        return
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _convert(picture: Image.Image, maximum: float) -> Image.Image:
    if _is_high_depth(picture):
        return Image.fromarray(_scale_to_8_bits(picture, maximum)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _maximum(picture: Image.Image) -> float:
    if not _is_high_depth(picture) or picture.mode.startswith("I;16"):
        return 65535
    return max(float(_as_floats(band).max(initial=0)) for _, band in _bands(picture, 1))


def _is_high_depth(picture: Image.Image) -> bool:
    return picture.mode.startswith("I") or picture.mode == "F"


def _as_floats(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.nan_to_num(np.asarray(picture, dtype=np.float32))  # (height, width)


def _scale_to_8_bits(picture: Image.Image, maximum: float) -> np.ndarray[Any, Any]:
    values = _as_floats(picture).clip(0)
    if picture.mode.startswith("I;16") or maximum > 255:
        values *= 255 / 65535
    elif picture.mode == "F" and maximum <= 1:
        values *= 255
    return values.clip(max=255).astype(np.uint8)
