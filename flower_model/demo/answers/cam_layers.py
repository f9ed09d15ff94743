"""Class activation maps as image layers that the page lays over the visitor's photo."""

import base64
import io
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from flower_model.demo.identifier import Identification
from flower_model.explain import render_heatmap
from flower_model.photos.decode import open_image
from flower_model.photos.transform import PhotoTransform

HEATMAP_SIDE = 104  # pixels; the browser enlarges the smooth heatmap
PREVIEW_SIDE = 800  # pixels


def cam_layers(identification: Identification, transform: PhotoTransform) -> str:
    """Return an element with a hidden heatmap per candidate; empty without activation maps.

    The element is positioned over the part of the photo that the model sees, in percent of the
    photo's width and height.
    """
    if not identification.maps:
        return ""
    resized, crop = transform.resized(identification.size), transform.size[::-1]
    width, height = (100 * part / whole for part, whole in zip(crop, resized, strict=True))
    layers = "".join(
        f"<img hidden data-name='{escape(label)}' src='{_overlay(activation, transform)}' "
        f"alt='Heatmap for {escape(label)}'>"
        for label, activation in identification.maps.items()
    )
    style = (
        f"left:{(100 - width) / 2:.2f}%;top:{(100 - height) / 2:.2f}%;"
        f"width:{width:.2f}%;height:{height:.2f}%"
    )
    return f"<div class='heatmaps' style='{style}' hidden>{layers}</div>"


def photo_preview(data: bytes) -> str:
    """Return a photo as an image element, for a format that the visitor's browser can't show."""
    picture = open_image(data, short_side=PREVIEW_SIDE)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return f"<img class='preview' src='{data_url(picture, 'JPEG', quality=85)}' alt='Your photo'>"


def data_url(picture: Image.Image, form: str, **options: Any) -> str:
    """Return a picture inline, so that no picture of a visitor is stored on the server."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _overlay(activation: np.ndarray, transform: PhotoTransform) -> str:
    height, width = transform.size
    shrink = HEATMAP_SIDE / max(height, width)
    overlay = render_heatmap(activation, (round(shrink * width), round(shrink * height)))
    return data_url(overlay, "PNG", compress_level=1)
