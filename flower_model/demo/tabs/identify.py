"""Tab "Identify": markup of the photo box; page.js sends photos to the REST API."""

from collections.abc import Iterable
from html import escape

import gradio as gr

from flower_model.demo.samples import sample_photos
from flower_model.demo.theme import STATIC

PHOTO_TYPES = "image/*,.heic,.heif,.avif,.tif,.tiff"


def identify_tab(labels: Iterable[str]) -> None:
    """Build the tab inside the current `gr.Tab`.

    Args:
        labels: The model's labels.
    """
    markup = (STATIC / "identify.html").read_text(encoding="utf-8")
    gr.HTML(
        markup.replace("{{types}}", PHOTO_TYPES).replace("{{samples}}", _samples(labels)),
        apply_default_css=False,
        js_on_load=None,
        elem_id="identify",
    )


def _samples(labels: Iterable[str]) -> str:
    """Return buttons for the sample photos, if the model knows the flower on them."""
    captions = {"flower.jpg": "A dahlia", "china.jpg": "A pagoda"}
    if not any("dahlia" in label.lower() for label in labels):
        return ""
    buttons = "".join(
        f"<button class='sample' data-sample='samples/{name}'>"
        f"<img src='samples/{name}' alt='' loading='lazy'><span>{escape(captions[name])}</span></button>"
        for name in sample_photos()
    )
    return (
        f"<section class='samples' aria-label='Sample photos'><p>No photo at hand? Try one of these.</p>{buttons}</section>"
        if buttons
        else ""
    )
