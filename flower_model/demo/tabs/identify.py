"""Tab "Identify": markup of the photo box; identify.js sends photos to the REST API."""

from collections.abc import Iterable

import gradio as gr

from flower_model.demo.samples import LICENCE, sample_photos
from flower_model.demo.theme import STATIC
from flower_model.demo.uploads import PHOTO_SUFFIXES


def identify_tab(labels: Iterable[str]) -> None:
    """Build the tab inside the current `gr.Tab`.

    Args:
        labels: The model's labels.
    """
    markup = (STATIC / "identify.html").read_text(encoding="utf-8")
    gr.HTML(
        markup.replace("{{types}}", ",".join(["image/*", *PHOTO_SUFFIXES])).replace(
            "{{samples}}", _samples(labels)
        ),
        apply_default_css=False,
        js_on_load=None,
        elem_id="identify",
    )


def _samples(labels: Iterable[str]) -> str:
    """Return buttons for the sample photos, each above its author and licence."""
    figures = "".join(
        f"<figure><button class='sample' data-sample='samples/{sample.path.name}'><img alt='' loading='lazy' "
        f"src='samples/{sample.path.name}'><span>{sample.title}</span></button><figcaption>"
        f"<a href='https://www.flickr.com/photos/{sample.author}/{sample.number}/' target='_blank' "
        f"rel='noopener noreferrer'>{sample.author}, {LICENCE}</a></figcaption></figure>"
        for sample in sample_photos(labels)
    )
    return (
        "<section class='samples' aria-label='Sample photos'><p>No photo at hand? Try one of these.</p>"
        f"{figures}</section>"
        if figures
        else ""
    )
