"""Class activation maps over the photo, as HTML."""

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from flower_model.explain import render_heatmap
from flower_model.photos.decode import open_image
from flower_model.photos.transform import PhotoTransform

SIDE = 416  # pixels of the photo
HEATMAP_SIDE = 104  # pixels; the browser enlarges the smooth heatmap


def cam_figure(data: bytes, transform: PhotoTransform, maps: Mapping[str, np.ndarray]) -> str:
    """Return a figure that shows one map at a time, at first the best label's.

    Args:
        data: Photo file.
        transform: The model's transform, which defines the visible part of the photo.
        maps: Label -> (height, width) activation map, best label first; at least one.
    """
    seen = _visible_part(data, transform)
    layers = "".join(
        f"<img class='heat' {'' if number == 0 else 'hidden'} data-name='{escape(label)}' "
        f"src='{_data_url(_overlay(activation, seen), 'PNG', compress_level=1)}' "
        f"alt='Heatmap for {escape(label)}'>"
        for number, (label, activation) in enumerate(maps.items())
    )
    return f"""<figure>
<div class="stack"><img src="{_data_url(seen, "JPEG", quality=85)}"
alt="The part of the photo that the model sees">{layers}</div>
<figcaption><h3>Where the model looked</h3>
<p class="note">Brighter areas count more towards <em>{escape(next(iter(maps)))}</em>.
Select another name above to see its heatmap.</p>
<label>Photo <input type="range" min="0" max="1" step="0.05" value="1"
aria-label="Heatmap opacity"> Heatmap</label></figcaption>
</figure>"""


def _visible_part(data: bytes, transform: PhotoTransform) -> Image.Image:
    height, width = transform.size  # the model's own input size would look coarse
    scale = SIDE / max(height, width)
    larger = replace(transform, size=(round(scale * height), round(scale * width)))
    return Image.fromarray(larger.to_pixels(open_image(data, short_side=larger.short_side)))


def _overlay(activation: np.ndarray, seen: Image.Image) -> Image.Image:
    shrink = HEATMAP_SIDE / SIDE
    return render_heatmap(activation, (round(shrink * seen.width), round(shrink * seen.height)))


def _data_url(picture: Image.Image, form: str, **options: Any) -> str:
    # Inline, so that no picture of a visitor is stored on the server.
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
