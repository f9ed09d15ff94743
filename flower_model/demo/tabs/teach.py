"""Tab "Teach": a new flower from a few photos, measured, tried and downloaded within the session."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from flower_model.classifier import FlowerClassifier
from flower_model.demo.answers.cam_layers import data_url
from flower_model.demo.answers.card import named, percent
from flower_model.demo.answers.table import thumbnail
from flower_model.demo.identifier import MIN_SHOWN
from flower_model.demo.server.request_log import log_request
from flower_model.demo.tabs.replace import replaceable
from flower_model.demo.uploads import PHOTO_SUFFIXES, as_list, notice, read_upload
from flower_model.errors import FlowerModelError, ImageError
from flower_model.photos.decode import open_image
from flower_model.prediction import Prediction
from flower_model.serialization.references import REFERENCES_FILE
from flower_model.teaching.lesson import Lesson, list_counts
from flower_model.teaching.teach import Teachable

MIN_PHOTOS, MAX_PHOTOS, MAX_CLASSES = 3, 10, 5  # of a class; of a session
SESSION_SECONDS = 3600  # without a request, after which what was taught is forgotten
ZIP, MAX_ZIPS = "flower-model", 20  # name of a download; files of that name on the server
MIN_FREE_BYTES = 1_000_000_000  # on the disk, for a download
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_id": "teach", "concurrency_limit": 1}


def can_teach(model: FlowerClassifier) -> bool:
    """Return whether a model has the references that teaching needs."""
    return model.folder is not None and (model.folder / REFERENCES_FILE).is_file()


def teach_tab(model: FlowerClassifier) -> None:
    """Build the tab inside the current `gr.Tab`. What is taught stays within a visitor's session."""
    start = cache(
        lambda: Teachable.load(model)
    )  # when the first visitor teaches; see ONE_AT_A_TIME
    # A visitor's taught classes; the rest of a `Teachable` is the same for all.
    taught = gr.State(None, time_to_live=SESSION_SECONDS)
    gr.HTML(
        f"<p>Upload {MIN_PHOTOS} to {MAX_PHOTOS} photos of a flower that the model doesn't know. "
        "It learns the name in seconds, for you alone and for this visit.</p>",
        elem_classes="note",
    )
    with gr.Row():
        with gr.Column():
            name = gr.Textbox(
                label="Name of the flower", max_length=100, max_lines=1, elem_id="teach-name"
            )
            files = gr.File(
                label=f"{MIN_PHOTOS} to {MAX_PHOTOS} photos of it",
                file_count="multiple",
                file_types=["image", *PHOTO_SUFFIXES],
                elem_id="teach-photos",
                height=None,
            )
            button = gr.Button("Teach", variant="primary", elem_id="teach-button")
        with gr.Column():
            report = gr.HTML(elem_id="lesson", js_on_load="element.setAttribute('role', 'status')")
            with gr.Column(visible=False) as after:
                photo = gr.File(
                    label="Try it: another photo",
                    file_types=["image", *PHOTO_SUFFIXES],
                    elem_id="teach-try",
                    height=120,
                )
                answer = gr.HTML(
                    elem_id="teach-answer", js_on_load="element.setAttribute('role', 'status')"
                )
                make = gr.Button("Prepare the download", elem_id="teach-save")
                download = gr.DownloadButton(
                    "Download the model", visible=False, elem_id="teach-download"
                )

    def teach(typed: Any, sent: Any, before: Teachable | None) -> Any:
        label, uploads = str(typed or ""), as_list(sent or [])
        with log_request("page: teach", notice, len(uploads)):
            now = before or start()
            _check(label, uploads, now)
            now = now.teach(label.strip(), [_open(*each, model) for each in enumerate(uploads, 1)])
            if now.lessons[-1].photos < MIN_PHOTOS:  # copies count once
                raise FlowerModelError(f"Choose at least {MIN_PHOTOS} different photos.")
        return {
            taught: now,
            report: "".join(map(describe_lesson, reversed(now.lessons))),
            after: gr.update(visible=True),
            name: "",
            files: None,
            photo: None,
            answer: "",
            download: gr.update(visible=False),
        }

    def try_photo(upload: Any, now: Teachable | None) -> Iterator[Any]:
        yield {photo: None, answer: ""}  # the empty box takes the next photo
        with log_request("page: try", notice, photos=1):
            data = read_upload(upload)
            prediction = _require(now).model.predict(data, top_k=4)
            card = describe_answer(prediction, thumbnail(data))
        yield {answer: card}

    def save(now: Teachable | None) -> Any:
        with log_request("page: download", notice):
            return gr.update(value=str(_zip(_require(now))), visible=True)

    button.click(
        teach,
        [name, files, taught],
        [taught, report, after, name, files, photo, answer, download],
        preprocess=False,
        api_visibility="private",
        show_progress_on=report,
        **ONE_AT_A_TIME,
    )
    trial = photo.upload(
        try_photo,
        [photo, taught],
        [photo, answer],
        preprocess=False,
        api_visibility="private",
        show_progress_on=answer,
        trigger_mode="multiple",
        concurrency_limit=2,
    )
    replaceable(photo, trial)
    make.click(save, taught, download, api_visibility="private", **ONE_AT_A_TIME)


def describe_lesson(lesson: Lesson) -> str:
    """Return what was learnt and lost as HTML."""
    count, lost = len(lesson.answers), sum(lesson.lost.values())
    accepted = sum(lesson.accepted)
    rows = {
        "Named correctly when held out": f"{lesson.correct} of {count} photos",
        "Confused with": escape(list_counts(lesson.confused_with)),
        "Recognised as a flower when held out": f"{accepted} of {count}" if lesson.accepted else "",
        "Photos of other flowers now misnamed": f"{lost} of {lesson.references:,}"
        + (f": {escape(list_counts(lesson.lost))}" if lost else ""),
    }
    body = "".join(
        f"<tr><th scope='row'>{title}</th><td>{text}</td></tr>"
        for title, text in rows.items()
        if text
    )
    return (
        f"<h2>{escape(lesson.label)}</h2><p class='note'>Learnt from {lesson.photos} photos. "
        "For these figures, each photo was held out of teaching in turn.</p>"
        f"<table>{body}</table>"
    )


def describe_answer(prediction: Prediction, picture: Image.Image) -> str:
    """Return the answer for a tried photo, beside a small picture of it, as HTML."""
    name, probability = named(prediction)
    items = "".join(
        f"<li>{escape(other)} {escape(percent(p))}</li>"
        for other, p in prediction.top
        if p >= MIN_SHOWN and other != name
    )
    return (
        f"<img src='{data_url(picture, 'WEBP', quality=75)}' alt='Your photo'><div><h2>{escape(name)}</h2>"
        f"<p><b>{escape(percent(probability))}</b></p><ul>{items}</ul></div>"
    )


def _check(label: str, uploads: Sequence[Any], before: Teachable) -> None:
    if not label.strip():
        raise FlowerModelError("Give the flower a name.")
    if not MIN_PHOTOS <= len(uploads) <= MAX_PHOTOS:
        raise FlowerModelError(
            f"Choose {MIN_PHOTOS} to {MAX_PHOTOS} photos of {label.strip()}, not {len(uploads)}."
        )
    if len(before.taught) >= MAX_CLASSES:
        raise FlowerModelError(
            f"You can teach at most {MAX_CLASSES} flowers per visit. To teach more, download the "
            "model, unzip it and run python app.py --model FOLDER."
        )


def _open(number: int, upload: Any, model: FlowerClassifier) -> Image.Image:
    try:
        return open_image(read_upload(upload), short_side=model.photo_transform.short_side)
    except ImageError as error:
        raise ImageError(f"Photo {number}: {error}") from None


def _require(now: Teachable | None) -> Teachable:
    if now is None:
        raise FlowerModelError("Your taught flowers have expired. Teach them again.")
    return now


def _zip(taught: Teachable) -> Path:
    """Return a zip of the weights folder, in the upload folder, where it expires like uploads."""
    uploads = Path(gr.utils.get_upload_folder())
    waiting = sum(1 for _ in uploads.rglob(f"{ZIP}.zip"))  # two each: Gradio makes a copy
    if waiting >= MAX_ZIPS or shutil.disk_usage(uploads).free < MIN_FREE_BYTES:
        raise FlowerModelError("The server has no room for a download. Try again in ten minutes.")
    place = Path(tempfile.mkdtemp(dir=uploads))
    with tempfile.TemporaryDirectory() as folder:
        taught.save(Path(folder))
        return Path(shutil.make_archive(str(place / ZIP), "zip", folder))
