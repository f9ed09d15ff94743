"""The page: its tabs and its Gradio endpoints."""

import gradio as gr

from flower_model.demo.gradio_api import add_endpoints
from flower_model.demo.identifier import PhotoIdentifier
from flower_model.demo.tabs.about import about_tab
from flower_model.demo.tabs.batch import batch_tab
from flower_model.demo.tabs.identify import identify_tab
from flower_model.demo.tabs.teach import can_teach, teach_tab
from flower_model.demo.theme import TITLE


def build_demo(identify: PhotoIdentifier, name: str) -> gr.Blocks:
    """Build the page and its Gradio endpoints `/identify`, `/identify_plant` and `/identify_many`.

    Args:
        identify: Identifies single photos.
        name: Folder or Hub repository of the model, for the page's title and code example.
    """
    model = identify.model
    demo: gr.Blocks
    with gr.Blocks(title=TITLE, analytics_enabled=False) as demo:
        gr.HTML(
            f"<h1>{TITLE}</h1><p>Upload a photo of a flower to find out its name. The model knows "
            f"{len(model.labels)} kinds.</p>",
            elem_id="title",
        )
        with gr.Tab("Identify"):
            identify_tab(model.labels)
        with gr.Tab("Many photos"):
            batch_tab(identify)
        if can_teach(model):
            with gr.Tab("Teach"):
                teach_tab(model)
        with gr.Tab("About"):
            about_tab(model, name)
        gr.HTML("<a href='api'>Use the API</a>", elem_id="footer")
        add_endpoints(identify)
    return demo
