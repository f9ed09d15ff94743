"""Every kind of pixel that a picture can have, as 8-bit RGB."""

from typing import Any

import numpy as np
from PIL import Image


def to_rgb(picture: Image.Image) -> Image.Image:
    """The picture in mode "RGB", as a viewer would show it on white paper.

    Args:
        picture: Of any mode: palette, grey, CMYK, with or without transparency, 16 bits or floats.

    Raises:
        ValueError: If Pillow knows no way from its mode to RGB.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_eight_bits(picture)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> np.ndarray[Any, Any]:
    values = np.nan_to_num(np.asarray(picture, dtype=np.float32))  # (height, width)
    brightest = values.max(initial=0)
    if picture.mode.startswith("I;16") or brightest > 255:
        values *= 255 / 65535
    elif picture.mode == "F" and brightest <= 1:
        values *= 255
    return values.clip(0, 255).astype(np.uint8)
