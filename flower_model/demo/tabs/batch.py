"""Tab "Many photos": photos or zip archives in; counts, a gallery, a table and a CSV file out."""

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from flower_model.demo.answers.album import gallery, progress_bar, summary_of, table_of
from flower_model.demo.answers.table import UploadResult, classify_uploads, csv_text
from flower_model.demo.identifier import CONCURRENT_BATCHES, TOP_K, PhotoIdentifier
from flower_model.demo.server.request_log import log_request
from flower_model.demo.tabs.replace import replaceable
from flower_model.demo.uploads import MAX_PHOTOS, PHOTO_SUFFIXES, as_list, notice, open_uploads
from flower_model.serialization.weights_folder import model_version

# Requests of many photos processed at the same time, by the page and the API together.
MANY_PHOTOS: dict[str, Any] = {
    "concurrency_id": "many photos",
    "concurrency_limit": CONCURRENT_BATCHES,
}
PROGRESS_SECONDS = 0.2  # between two messages to the browser


def batch_tab(identify: PhotoIdentifier) -> None:
    """Build the tab inside the current `gr.Tab`."""
    model = identify.model
    version = model_version(model.folder, model.config)
    top_k = min(TOP_K, len(model.labels))
    files = gr.File(
        label=f"Up to {MAX_PHOTOS} photos, also zipped",
        file_count="multiple",
        file_types=["image", *PHOTO_SUFFIXES, ".zip"],
        elem_id="files",
        height=None,
    )
    summary = gr.HTML(elem_id="summary", js_on_load="element.setAttribute('role', 'status')")
    results = gr.HTML(elem_id="results")

    def identify_photos(uploads: Any) -> Iterator[dict[Any, Any]]:
        yield {files: None, summary: "", results: ""}  # the empty box takes the next photos
        rows: list[UploadResult] = []
        shown = 0.0
        try:
            with (
                log_request("page: many", notice) as record,
                open_uploads(as_list(uploads)) as photos,
            ):
                record.photos = len(photos)
                for row in classify_uploads(identify, photos, thumbnails=True):
                    rows.append(row)
                    if time.monotonic() - shown > PROGRESS_SECONDS:
                        shown = time.monotonic()
                        yield {summary: progress_bar(len(rows), len(photos))}
        except gr.Error:
            yield {summary: ""}
            raise
        yield {
            summary: summary_of(rows, csv_text(rows, version, top_k)),
            results: gallery(rows) + table_of(rows, model.config.descriptions),
        }

    run = files.upload(
        identify_photos,
        files,
        [files, summary, results],
        preprocess=False,
        api_visibility="private",
        show_progress="hidden",
        trigger_mode="multiple",
        **MANY_PHOTOS,
    )
    replaceable(files, run)
