"""Upload boxes whose photos are answered at once, and replaced by the next ones."""

import gradio as gr
from gradio.events import Dependency


def replaceable(box: gr.File, request: Dependency) -> None:
    """Let other_tabs.js know when a request has ended, so that it can hand over the next photos.

    Args:
        box: The upload box.
        request: The event that answers its photos, and empties the box first.
    """
    # Only a request that was refused at once leaves its photos in the box.
    ended = (
        f"() => {{ delete document.getElementById('{box.elem_id}').dataset.running; return null; }}"
    )
    for event in (request.success, request.failure):
        event(None, outputs=box, js=ended, api_visibility="private")
