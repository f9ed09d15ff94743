"""Tab "Identify": one photo in, the name of its flower and a heatmap out."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from flower_model.demo.answer_card import headline, no_flower
from flower_model.demo.cam_figure import cam_figure
from flower_model.demo.identifier import CONCURRENT_PHOTOS, TOP_K, PhotoIdentifier
from flower_model.demo.server.request_log import log_request
from flower_model.demo.uploads import notice, read_upload

WAITING = "<p class='waiting'>Its name will appear here.</p>"
# Gradio applies the limit to all events with the same id, so to the page and the API together.
ONE_PHOTO: dict[str, Any] = {
    "concurrency_id": "one photo",
    "concurrency_limit": CONCURRENT_PHOTOS,
}
HIDDEN, SHOWN = gr.update(visible=False), gr.update(visible=True)

# Screen readers announce changes in a status region.
ANNOUNCE = "element.setAttribute('role', 'status')"


def identify_tab(identify: PhotoIdentifier) -> None:
    """Build the tab inside the current `gr.Tab`."""
    model = identify.model
    with gr.Row():
        with gr.Column():
            photo = gr.Image(
                label="Photo",
                sources=["upload", "clipboard", "webcam"],
                height="clamp(250px, 40vw, 370px)",
                buttons=[],
                placeholder="Drop a photo of a flower here\nor click to choose one",
                alt_text="The photo you have chosen",
                elem_id="photo",
            )
        with gr.Column():
            answer = gr.HTML(WAITING, elem_id="answer", js_on_load=ANNOUNCE)
            anyway = gr.Button("Show its guesses anyway", visible=False)
            top = gr.Label(
                label="Most probable",
                num_top_classes=TOP_K,
                show_heading=False,
                elem_id="top",
                visible=False,
            )
            if samples := sample_photos():
                gr.Examples(
                    [[path] for path in samples.values()],
                    photo,
                    example_labels=list(samples),
                    label="Or try one of these",
                    api_visibility="private",
                    elem_id="samples",
                )
    looked = gr.HTML(elem_id="looked", visible=False)

    def no_answer() -> dict[Any, Any]:
        return {answer: WAITING, anyway: HIDDEN, top: HIDDEN, looked: HIDDEN}

    def show_answer(upload: Any) -> dict[Any, Any]:
        if upload is None:  # the photo was removed
            return no_answer()
        with log_request("page: identify", notice) as record:
            record.photos = 1
            return answered(read_upload(upload))

    def answered(data: bytes) -> dict[Any, Any]:
        found = identify(data)
        says_no = found.prediction.is_flower is False
        words = (
            no_flower(found.prediction)
            if says_no
            else headline(found.prediction, model.config.descriptions)
        )
        figure = cam_figure(data, model.photo_transform, found.maps) if found.maps else ""
        return {
            answer: words,
            anyway: gr.update(visible=says_no),
            top: gr.update(value=dict(found.prediction.top), visible=not says_no),
            looked: gr.update(value=figure, visible=not says_no),
        }

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    shown = photo.change(
        show_answer,
        photo,
        [answer, anyway, top, looked],
        preprocess=False,  # gr.Image would open the file itself, and fail in its own words
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=answer,
        **ONE_PHOTO,
    )
    # A file that can't be opened is removed together with the previous answer. Both here, because
    # Gradio's page sometimes drops the change event that follows a failure.
    shown.failure(
        lambda: no_answer() | {photo: None}, None, [photo, answer, anyway, top, looked], **quiet
    )
    anyway.click(lambda: (HIDDEN, SHOWN, SHOWN), None, [anyway, top, looked], **quiet)


def sample_photos() -> dict[str, str]:
    """Return caption -> path of scikit-learn's sample photos; empty if it is not installed."""
    sklearn = find_spec("sklearn")  # importing it would take a second
    if sklearn is None or sklearn.origin is None:
        return {}
    folder = Path(sklearn.origin).parent / "datasets" / "images"
    photos = {"A dahlia": folder / "flower.jpg", "A pagoda": folder / "china.jpg"}
    return {text: str(path) for text, path in photos.items() if path.is_file()}
