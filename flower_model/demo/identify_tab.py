"""The first tab: one photo in, its flower's name out, and where in the photo the model saw it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from flower_model.demo.heatmap import looked_at
from flower_model.demo.inference import TOP_K, Finder
from flower_model.demo.server.request_log import answering
from flower_model.demo.uploads import notice, read_upload
from flower_model.demo.wording import headline, no_flower

WAITING = "<p class='waiting'>Its name will appear here.</p>"
# Photos opened and answered at the same time, by the page and the API together: Gradio counts by id.
AT_ONCE: dict[str, Any] = {"concurrency_id": "one photo", "concurrency_limit": 16}
HIDDEN, SHOWN = gr.update(visible=False), gr.update(visible=True)

# Screen readers say what changes in a status region.
SPEAK = "element.setAttribute('role', 'status')"


def identify_tab(find: Finder) -> None:
    """Builds the tab; called inside it."""
    model = find.model
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
            answer = gr.HTML(WAITING, elem_id="answer", js_on_load=SPEAK)
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
        if upload is None:  # the photo was taken away again
            return no_answer()
        with answering("page: identify", notice) as asked:
            asked.photos = 1
            return answered(read_upload(upload))

    def answered(data: bytes) -> dict[Any, Any]:
        found = find(data)
        says_no = found.answer.is_flower is False
        words = (
            no_flower(found.answer)
            if says_no
            else headline(found.answer, model.config.descriptions)
        )
        figure = looked_at(data, model.photo_transform, found.maps) if found.maps else ""
        return {
            answer: words,
            anyway: gr.update(visible=says_no),
            top: gr.update(value=dict(found.answer.top), visible=not says_no),
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
        **AT_ONCE,
    )
    # A file that can't be opened goes, and takes the last photo's answer with it: both here, since the
    # page now and then drops the change that follows a failure.
    shown.failure(
        lambda: no_answer() | {photo: None}, None, [photo, answer, anyway, top, looked], **quiet
    )
    anyway.click(lambda: (HIDDEN, SHOWN, SHOWN), None, [anyway, top, looked], **quiet)


def sample_photos() -> dict[str, str]:
    """What scikit-learn's two sample photos show -> their paths; empty where it is not installed."""
    sklearn = find_spec("sklearn")  # importing it would take a second
    if sklearn is None or sklearn.origin is None:
        return {}
    folder = Path(sklearn.origin).parent / "datasets" / "images"
    photos = {"A dahlia": folder / "flower.jpg", "A pagoda": folder / "china.jpg"}
    return {text: str(path) for text, path in photos.items() if path.is_file()}
