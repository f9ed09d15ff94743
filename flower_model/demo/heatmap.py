"""What the model looked at: the photo with heat over it, for each of its most probable names."""

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
HEAT_SIDE = 104  # of the heat, which is smooth, and which the browser enlarges


def looked_at(data: bytes, transform: PhotoTransform, maps: Mapping[str, np.ndarray]) -> str:
    """A figure in HTML: the page shows one map at a time, the first or a chosen name's.

    Args:
        data: The photo's file.
        transform: The model's, and so which part of the photo it saw.
        maps: Label -> (height, width) activation map, best label first; at least one.
    """
    seen = _as_seen(data, transform)
    layers = "".join(
        f"<img class='heat' {'' if number == 0 else 'hidden'} data-name='{escape(label)}' "
        f"src='{_data_url(_heat(activation, seen), 'PNG', compress_level=1)}' "
        f"alt='Heat where the model sees signs of {escape(label)}'>"
        for number, (label, activation) in enumerate(maps.items())
    )
    return f"""<figure>
<div class="stack"><img src="{_data_url(seen, "JPEG", quality=85)}"
alt="The part of the photo that the model looks at">{layers}</div>
<figcaption><h3>What it looked at</h3>
<p class="note">The lighter a place glows, the more it speaks for <em>{escape(next(iter(maps)))}</em>.
Choose another name above to see what speaks for that one.</p>
<label>Photo <input type="range" min="0" max="1" step="0.05" value="1"
aria-label="Strength of the heat"> Heat</label></figcaption>
</figure>"""


def _as_seen(data: bytes, transform: PhotoTransform) -> Image.Image:
    height, width = transform.size  # of the network's own pixels, which would look coarse
    scale = SIDE / max(height, width)
    larger = replace(transform, size=(round(scale * height), round(scale * width)))
    return Image.fromarray(larger.to_pixels(open_image(data, short_side=larger.short_side)))


def _heat(activation: np.ndarray, seen: Image.Image) -> Image.Image:
    shrink = HEAT_SIDE / SIDE
    return render_heatmap(activation, (round(shrink * seen.width), round(shrink * seen.height)))


def _data_url(picture: Image.Image, form: str, **options: Any) -> str:
    # In the page itself: no picture of a visitor's stays on the server, or can be asked for by others.
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
