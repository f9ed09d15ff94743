"""timm's evaluation transform up to the pixels, in Pillow alone: importing timm takes seconds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from flower_model.errors import ModelError

FILTERS = {resampling.name.lower(): resampling for resampling in Image.Resampling}

LARGE = 4_000_000  # pixels; a photo of 1 x 10,000 would be resized to 224 x 2,240,000


@dataclass(frozen=True)
class PhotoTransform:
    """Resizes and crops a photo as `timm.data.create_transform(..., is_training=False)` does.

    Attributes:
        size: (height, width) of what the network sees, pixels.
        crop: The share of the resized photo that is kept, in (0, 1].
        crop_mode: "center" fits the short side and cuts the rest off, "border" fits the long side
            and fills the rest up, "squash" fits both and changes the proportions.
        filter: Pillow's resampling filter.
        fill: RGB colour of what the resized photo does not cover.
    """

    size: tuple[int, int]
    crop: float
    crop_mode: str
    filter: Image.Resampling
    fill: tuple[int, ...]

    @classmethod
    def from_data_config(cls, data_config: Mapping[str, Any]) -> "PhotoTransform":
        """The transform of what `timm.data.resolve_data_config` says.

        Raises:
            ModelError: If the network does not take RGB photos or no filter has the name.
        """
        channels, height, width = data_config["input_size"]
        if channels != 3:
            raise ModelError(f"The model takes pictures of {channels} channels, photos have 3.")
        interpolation = data_config["interpolation"]
        if interpolation not in FILTERS:
            raise ModelError(
                f"The model asks for the interpolation '{interpolation}': "
                f"photos can be resized with {', '.join(sorted(FILTERS))}."
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
        """The pixels that the network sees of a photo.

        Args:
            picture: In mode "RGB".

        Returns:
            (height, width, 3) uint8, not normalised.
        """
        height, width = self.size
        wide, high = self.resized(picture.size)
        shrinks = wide < picture.width and high < picture.height
        covers = wide >= width and high >= height
        if covers and (shrinks or wide * high > LARGE):
            # Only what the crop keeps is resized: a third less work. Because Pillow holds the box
            # in 32-bit floats, fewer than one value in a hundred differs from timm's, by 1 of 255.
            left, top = round((wide - width) / 2), round((high - height) / 2)
            across, down = picture.width / wide, picture.height / high  # photo pixels a pixel
            box = (left * across, top * down, (left + width) * across, (top + height) * down)
            return np.asarray(picture.resize((width, height), self.filter, box))
        return np.asarray(self._crop(picture.resize((wide, high), self.filter)))

    @property
    def short_side(self) -> int:
        """No photo is resized to more pixels than this along its short side."""
        return max(math.floor(side / self.crop) for side in self.size)

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) to which a photo of `size` (width, height) is resized before the crop."""
        width, height = size
        fit_height, fit_width = (math.floor(side / self.crop) for side in self.size)
        if self.crop_mode == "squash":
            return fit_width, fit_height
        if self.crop_mode == "border" or fit_height != fit_width:
            pick = max if self.crop_mode == "border" else min
            ratio = pick(height / fit_height, width / fit_width)
            return max(round(width / ratio), 1), max(round(height / ratio), 1)
        short = min(width, height)  # torchvision rounds down where timm rounds to the nearest
        return int(fit_width * width / short), int(fit_height * height / short)

    def _crop(self, picture: Image.Image) -> Image.Image:
        height, width = self.size
        more_across, more_down = max(width - picture.width, 0), max(height - picture.height, 0)
        border = (more_across // 2, more_down // 2, (more_across + 1) // 2, (more_down + 1) // 2)
        picture = ImageOps.expand(picture, border, self.fill)
        left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
        return picture.crop((left, top, left + width, top + height))
