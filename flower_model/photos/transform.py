"""timm's evaluation transform in Pillow alone, up to normalization: importing timm takes seconds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from flower_model.errors import ModelError

FILTERS = {resampling.name.lower(): resampling for resampling in Image.Resampling}

LARGE = 4_000_000  # pixels; a 1 x 10,000 photo would be resized to 224 x 2,240,000


@dataclass(frozen=True)
class PhotoTransform:
    """Resize and crop a photo as `timm.data.create_transform(..., is_training=False)` does.

    Attributes:
        size: (height, width) of the network's input, in pixels.
        crop: Ratio of the crop to the resized photo, in (0, 1].
        crop_mode: "center" fits the short side and crops the long one, "border" fits the long side
            and pads the short one, "squash" fits both and ignores the aspect ratio.
        filter: Pillow's resampling filter.
        fill: RGB color of the padding.
    """

    size: tuple[int, int]
    crop: float
    crop_mode: str
    filter: Image.Resampling
    fill: tuple[int, ...]

    @classmethod
    def from_data_config(cls, data_config: Mapping[str, Any]) -> "PhotoTransform":
        """Create the transform that `timm.data.resolve_data_config` describes.

        Raises:
            ModelError: If the network's input is not RGB or the interpolation is unknown.
        """
        channels, height, width = data_config["input_size"]
        if channels != 3:
            raise ModelError(
                f"The model expects images with {channels} channels, but photos have 3."
            )
        interpolation = data_config["interpolation"]
        if interpolation not in FILTERS:
            raise ModelError(
                f"The model's interpolation '{interpolation}' is not supported. "
                f"Use one of {', '.join(sorted(FILTERS))}."
            )
        bordered = data_config["crop_mode"] == "border"
        return cls(
            size=(height, width),
            crop=data_config["crop_pct"],
            crop_mode=data_config["crop_mode"],
            filter=FILTERS[interpolation],
            fill=tuple(round(255 * x) for x in data_config["mean"]) if bordered else (0, 0, 0),
        )

    def to_pixels(self, picture: Image.Image) -> np.ndarray:
        """Resize and crop a photo to the network's input size.

        Args:
            picture: In mode "RGB".

        Returns:
            (height, width, 3) uint8, not normalized.
        """
        height, width = self.size
        wide, high = self.resized(picture.size)
        shrinks = wide < picture.width and high < picture.height
        covers = wide >= width and high >= height
        if covers and (shrinks or wide * high > LARGE):
            # Resizing only the cropped region saves a third of the work. Pillow stores the box in
            # 32-bit floats, so fewer than 1 % of the values differ from timm's, by 1 of 255.
            left, top = round((wide - width) / 2), round((high - height) / 2)
            across, down = picture.width / wide, picture.height / high  # photo pixels per pixel
            box = (left * across, top * down, (left + width) * across, (top + height) * down)
            return np.asarray(picture.resize((width, height), self.filter, box))
        return np.asarray(self._crop(picture.resize((wide, high), self.filter)))

    @property
    def short_side(self) -> int:
        """Largest short side, in pixels, to which any photo is resized."""
        return max(math.floor(side / self.crop) for side in self.size)

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) to which a photo of `size` is resized before the crop."""
        width, height = size
        fit_height, fit_width = (math.floor(side / self.crop) for side in self.size)
        if self.crop_mode == "squash":
            return fit_width, fit_height
        if self.crop_mode == "border" or fit_height != fit_width:
            pick = max if self.crop_mode == "border" else min
            ratio = pick(height / fit_height, width / fit_width)
            return max(round(width / ratio), 1), max(round(height / ratio), 1)
        short = min(width, height)  # torchvision rounds down here, timm to nearest
        return int(fit_width * width / short), int(fit_height * height / short)

    def _crop(self, picture: Image.Image) -> Image.Image:
        height, width = self.size
        canvas = Image.new("RGB", (width, height), self.fill)
        canvas.paste(picture, (_start(width - picture.width), _start(height - picture.height)))
        return canvas


def _start(missing: int) -> int:
    """Return the offset that centres a side: negative, to crop it, if its missing pixels are."""
    return missing // 2 if missing > 0 else round(missing / 2)
