"""Tab "Many photos": photos or zip archives in; a gallery, a table and a CSV file out."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from flower_model.classifier import FlowerClassifier
from flower_model.cli.bulk import model_version
from flower_model.demo.answers.card import percent
from flower_model.demo.answers.table import (
    CONCURRENT_BATCHES,
    TOP_K,
    Row,
    classify_uploads,
    csv_text,
)
from flower_model.demo.server.request_log import log_request
from flower_model.demo.uploads import MAX_PHOTOS, notice, open_uploads
from flower_model.errors import ImageError

# Requests of many photos processed at the same time, by the page and the API together.
MANY_PHOTOS: dict[str, Any] = {
    "concurrency_id": "many photos",
    "concurrency_limit": CONCURRENT_BATCHES,
}
HEADINGS = ("File", "Name", "Botanical name", "Probability", "Alternatives")


def batch_tab(model: FlowerClassifier) -> None:
    """Build the tab inside the current `gr.Tab`."""
    version, top_k = model_version(model), min(TOP_K, len(model.labels))
    files = gr.File(
        label=f"Photos, or a zip of photos: up to {MAX_PHOTOS}",
        file_count="multiple",
        file_types=["image", ".zip"],
        elem_id="files",
        height=180,
    )
    summary = gr.HTML(elem_id="summary", js_on_load="element.setAttribute('role', 'status')")
    with gr.Column(visible=False) as results:
        gallery = gr.Gallery(
            label="Photos",
            columns=4,
            height="auto",
            object_fit="cover",
            format="jpeg",
            buttons=[],
            interactive=False,
            elem_id="gallery",
        )
        table = gr.HTML(elem_id="table")
        download = gr.HTML(elem_id="csv")

    def identify_photos(uploads: list[Any] | None, progress: gr.Progress = _PROGRESS) -> Any:
        if not uploads:
            return {summary: "", results: gr.update(visible=False)}
        rows: list[Row] = []
        with log_request("page: many", notice) as record, open_uploads(uploads) as photos:
            record.photos = len(photos)
            for row in classify_uploads(model, photos, thumbnails=True):
                rows.append(row)
                progress((len(rows), len(photos)), desc="Identifying", unit="photos")
        return {
            summary: _summary(rows),
            results: gr.update(visible=True),
            gallery: [(row.thumbnail, _caption(row)) for row in rows if row.thumbnail],
            table: _table(rows, model.config.descriptions),
            download: _download(csv_text(rows, version, top_k)),
        }

    files.change(
        identify_photos,
        files,
        [summary, results, gallery, table, download],
        preprocess=False,
        api_visibility="private",
        show_progress_on=summary,
        **MANY_PHOTOS,
    )


_PROGRESS = gr.Progress()


def _summary(rows: Sequence[Row]) -> str:
    failed = [row for row in rows if isinstance(row.answer, ImageError)]
    named = len(rows) - len(failed)
    text = f"<p><b>{named}</b> {'photo' if named == 1 else 'photos'} identified."
    if not failed:
        return text + "</p>"
    items = "".join(
        f"<li><b>{escape(row.name)}</b>: {escape(str(row.answer))}</li>" for row in failed
    )
    return f"{text} <b>{len(failed)}</b> could not be opened:</p><ul>{items}</ul>"


def _caption(row: Row) -> str:
    if isinstance(row.answer, ImageError):
        return row.name
    if row.answer.is_flower is False:
        return "no flower"
    return f"{row.answer.label} · {percent(row.answer.probability)}"


def _table(rows: Sequence[Row], descriptions: Mapping[str, str]) -> str:
    head = "".join(f"<th><button>{heading}</button></th>" for heading in HEADINGS)
    body = "".join(f"<tr>{_cells(row, descriptions)}</tr>" for row in rows)
    return (
        "<div class='wide' tabindex='0' role='region' aria-label='Answers'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(row: Row, descriptions: Mapping[str, str]) -> str:
    file = f"<td>{escape(row.name)}</td>"
    if isinstance(row.answer, ImageError):
        return f"{file}<td></td><td></td><td data-value='0'></td><td>{escape(str(row.answer))}</td>"
    label, probability = row.answer.top[0]
    others = row.answer.top[1:3]
    if row.answer.is_flower is False:
        label, others = "no flower", row.answer.top[:2]
        probability = 1 - (row.answer.flower_probability or 0.0)
    return (
        f"{file}<td>{escape(label)}</td><td><i>{escape(descriptions.get(label, ''))}</i></td>"
        f"<td data-value='{probability:.6f}'>{escape(percent(probability))}</td>"
        f"<td>{escape(', '.join(f'{other} {percent(p)}' for other, p in others))}</td>"
    )


def _download(text: str) -> str:
    # Inline, so that no file with visitors' file names is stored on the server. Excel recognises
    # UTF-8 by the byte-order mark.
    content = base64.b64encode(("\ufeff" + text).encode()).decode()
    return (
        f"<a href='data:text/csv;charset=utf-8;base64,{content}' download='flowers.csv'>"
        "Download as CSV</a>"
    )
