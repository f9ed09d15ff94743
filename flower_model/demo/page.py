"""The page: its tabs and its API endpoints."""

import gradio as gr

from flower_model.classifier import FlowerClassifier
from flower_model.demo.about_tab import about_tab
from flower_model.demo.api import add_endpoints
from flower_model.demo.batch_tab import many_tab
from flower_model.demo.identify_tab import identify_tab
from flower_model.demo.inference import Finder
from flower_model.demo.theme import TITLE


def build_demo(model: FlowerClassifier, name: str, find: Finder | None = None) -> gr.Blocks:
    """Builds the page and its API endpoints `/identify` and `/identify_many`.

    Args:
        model: The model that answers.
        name: What the page calls it, also in the code that loads it: a folder or a Hub repository.
        find: What asks it, if somebody else asks it the same way.

    Returns:
        A page to be launched with `**PAGE`.

    Example:
        >>> build_demo(FlowerClassifier.from_pretrained("weights"), "weights").launch(**PAGE)
    """
    find = find or Finder(model)
    # An hour after it came, a photo is deleted from the server; by `guard` after minutes.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        gr.HTML(
            f"<h1>{TITLE}</h1><p>Show it a photo. It knows {len(model.labels)} kinds of flower.</p>",
            elem_id="title",
        )
        with gr.Tab("Identify"):
            identify_tab(find)
        with gr.Tab("Many photos"):
            many_tab(model)
        with gr.Tab("About this model"):
            about_tab(model, name)
        add_endpoints(find)
    return demo
