"""The page: a photo in, the flower's name out."""

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from flower_model.classifier import FlowerClassifier
from flower_model.errors import FlowerModelError, ImageError

TITLE = "What flower is this?"

# Fonts of the reader's own system: the page asks nobody but its server for anything.
THEME = gr.themes.Default(
    primary_hue="rose",
    neutral_hue="stone",
    radius_size="lg",
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
).set(
    body_background_fill="*neutral_50",
    body_text_color_subdued="*neutral_500",
    body_text_color_subdued_dark="*neutral_400",
    stat_background_fill="*primary_400",
    stat_background_fill_dark="*primary_500",
)

CSS = """
.gradio-container { width: 100%; max-width: 62rem !important; margin: 0 auto !important; }
#title { padding: 1.5rem 0 .75rem; }
#title *, #answer * { padding-inline: 0; }
#title h1 { font-size: clamp(1.5rem, 6.5vw, 2.4rem); font-weight: 700; letter-spacing: -.025em; }
#title p, #model, #answer i, #answer .waiting { color: var(--body-text-color-subdued); }
#title p, #answer i, #answer .waiting { font-size: var(--text-lg); }
#answer { min-height: 9rem; flex-grow: 1; display: flex; align-items: center; }
#answer h2 { font-size: clamp(1.9rem, 7vw, 2.8rem); font-weight: 700; line-height: 1.15;
  letter-spacing: -.025em; overflow-wrap: anywhere; }
#answer h2::first-letter, #top dt::first-letter { text-transform: uppercase; }
#answer p { margin-top: .5rem; }
#answer b { color: var(--primary-600); }
.dark #answer b { color: var(--primary-400); }
#top { flex-grow: 0; }
#top dl { font-family: var(--font); }
#top dt { overflow-wrap: anywhere; }
#model { font-size: var(--text-sm); text-align: center; padding-top: 1rem; }
#top dd { padding-left: .5rem; }
footer { margin-top: 0 !important; }
footer .divider, footer img { display: none !important; }
"""

# How build_demo's page wants to be launched: `build_demo(model, name).launch(**PAGE)`.
PAGE: dict[str, Any] = {
    "theme": THEME,
    "css": CSS,
    "footer_links": ["api"],
    "run_history": False,
    "ssr_mode": False,
    "max_file_size": "100mb",
}

WAITING = "<p class='waiting'>Its name will appear here.</p>"


def build_demo(model: FlowerClassifier, name: str) -> gr.Blocks:
    """Builds the page and its API endpoint `/identify`.

    Args:
        model: The model that answers.
        name: What the page calls it in its last line: a folder or a Hub repository.

    Returns:
        A page to be launched with `**PAGE`. `/identify` takes a photo and returns
        {"label": best, "confidences": [{"label": …, "confidence": …}, …]}, best first.

    Example:
        >>> build_demo(FlowerClassifier.from_pretrained("weights"), "weights").launch(**PAGE)
    """

    def identify(photo: bytes | None) -> dict[str, float]:
        """Names the flower in a photo: the five most probable names and their probabilities."""
        if photo is None:
            return {}  # the photo was taken away again
        try:
            return dict(model.predict(photo, top_k=5).top)
        except FlowerModelError as error:
            raise _notice(error) from None

    def headline(confidences: dict[str, float] | None) -> str:
        if not confidences:
            return WAITING
        label, probability = max(confidences.items(), key=lambda item: item[1])
        return _headline(label, model.config.descriptions.get(label, ""), probability)

    # An hour after it came, a photo is deleted from the server.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        gr.HTML(
            f"<h1>{TITLE}</h1><p>Show it a photo. It knows {len(model.labels)} kinds of flower.</p>",
            elem_id="title",
            padding=False,
        )
        with gr.Row(equal_height=True):
            photo = gr.Image(
                label="Photo",
                sources=["upload", "clipboard", "webcam"],
                height="clamp(270px, 45vw, 410px)",
                buttons=[],
                placeholder="Drop a photo of a flower here\nor click to choose one",
            )
            # gr.Image would open the file itself, and fail in its own words before we see it.
            photo.preprocess = _uploaded_bytes  # type: ignore[method-assign,assignment]
            with gr.Column():
                answer = gr.HTML(WAITING, elem_id="answer", padding=False)
                top = gr.Label(
                    label="Most probable", num_top_classes=5, show_heading=False, elem_id="top"
                )
        gr.HTML(escape(f"{name} · {model.config.architecture}"), elem_id="model")
        asked = photo.change(identify, photo, top, api_name="identify", show_progress="minimal")
        # A file that can't be opened goes, and takes the last photo's answer with it.
        asked.failure(lambda: None, None, photo, api_visibility="private", show_progress="hidden")
        top.change(headline, top, answer, api_visibility="private", show_progress="hidden")
    return demo


def _uploaded_bytes(upload: ImageData | None) -> bytes | None:
    if upload is None:
        return None
    try:
        return Path(upload.path or "").read_bytes()
    except OSError:
        raise _notice(ImageError("The photo did not arrive: send it again.")) from None


def _notice(error: FlowerModelError) -> gr.Error:
    # Gradio shows a notice as HTML.
    return gr.Error(escape(str(error), quote=False), print_exception=False)


def _headline(label: str, description: str, probability: float) -> str:
    botanical = f"<i>{escape(description)}</i>" if description else ""
    return f"<div><h2>{escape(label)}</h2>{botanical}<p><b>{probability:.0%}</b> sure</p></div>"
