"""Every kind of pixel that a picture can have, as 8-bit RGB."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

BAND = 4_000_000  # pixels converted at a time: between modes there are several copies of them


def to_rgb(picture: Image.Image, factor: int = 1) -> Image.Image:
    """The picture in mode "RGB", as a viewer would show it on white paper.

    Args:
        picture: Of any mode: palette, grey, CMYK, with or without transparency, 16 bits or floats.
        factor: How many times smaller it comes, by the mean of blocks of so many pixels a side.

    Raises:
        ValueError: If Pillow knows no way from its mode to RGB.
    """
    brightest = _brightest(picture)
    size = (-(-picture.width // factor), -(-picture.height // factor))
    whole = None
    for top, band in _bands(picture, factor):
        part = _convert(band, brightest)
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


def _convert(picture: Image.Image, brightest: float) -> Image.Image:
    if _has_wide_numbers(picture):
        return Image.fromarray(_eight_bits(picture, brightest)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _brightest(picture: Image.Image) -> float:
    if not _has_wide_numbers(picture) or picture.mode.startswith("I;16"):
        return 65535
    return max(float(_floats(band).max(initial=0)) for _, band in _bands(picture, 1))


def _has_wide_numbers(picture: Image.Image) -> bool:
    return picture.mode.startswith("I") or picture.mode == "F"


def _floats(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.nan_to_num(np.asarray(picture, dtype=np.float32))  # (height, width)


def _eight_bits(picture: Image.Image, brightest: float) -> np.ndarray[Any, Any]:
    values = _floats(picture).clip(0)
    if picture.mode.startswith("I;16") or brightest > 255:
        values *= 255 / 65535
    elif picture.mode == "F" and brightest <= 1:
        values *= 255
    return values.clip(max=255).astype(np.uint8)
