"""The third tab: what the weights folder says about the model that is loaded."""

import json
from collections.abc import Callable, Mapping
from functools import wraps
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from flower_model.classifier import FlowerClassifier
from flower_model.config import ModelConfig
from flower_model.serialization.model_card import METRIC_NAMES, PICTURES, describe_rejection


def about_tab(model: FlowerClassifier, name: str) -> None:
    """Builds the tab; called inside it. What the model does not know of itself is left out.

    Args:
        model: The model.
        name: The folder or Hub repository that it was loaded from.
    """
    config = model.config

    def section(content: str, **options: Any) -> None:
        if content:
            gr.HTML(content, elem_classes="about", **options)

    section(_summary(config, name))
    section(_measured(config.details))
    for file, text in PICTURES.items():
        if file in model.pictures:
            section(f"<h3>{text}</h3>")
            _picture(file, model.pictures[file], text)
    section(_names(config), elem_id="names")
    section("<h3>In your code</h3>")
    gr.Code(_code(name), language="python", show_label=False, interactive=False, elem_id="code")
    section(_origin(config.details))


def _or_nothing(tell: Callable[..., str]) -> Callable[..., str]:
    """A stranger's config.json may hold anything under a key: what can't be told is left out."""

    @wraps(tell)
    def told(*args: Any) -> str:
        try:
            return tell(*args)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError):
            return ""

    return told


def _summary(config: ModelConfig, name: str) -> str:
    parts = f"{config.architecture}, {len(config.labels)} names"
    return f"<h2>{escape(name)}</h2><p class='note'>{escape(parts + _licence(config.details))}</p>"


@_or_nothing
def _licence(details: Mapping[str, Any]) -> str:
    return f" · licence {details['recipe']['model']['license']}"


@_or_nothing
def _measured(details: Mapping[str, Any]) -> str:
    """The figures as a table: a column for the held-out photos and one for each test source."""
    columns = {"held-out photos": details.get("metrics", {}), **details.get("tests", {})}
    columns = {title: figures for title, figures in columns.items() if figures}
    if not columns:
        return ""
    head = "".join(f"<th scope='col'>{escape(title)}</th>" for title in columns)
    rows = "".join(
        f"<tr><th scope='row'>{text[0].upper() + text[1:]}</th>"
        + "".join(f"<td>{_figure(figures.get(key))}</td>" for figures in columns.values())
        + "</tr>"
        for key, text in METRIC_NAMES.items()
    )
    return (
        "<h3>How good it is</h3><div class='wide'><table>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<p>{escape(describe_rejection(details.get('rejection', {})))}</p>"
    )


def _figure(value: Any) -> str:
    return f"{100 * value:.1f}%" if isinstance(value, int | float) else "–"


def _picture(file: str, content: bytes, text: str) -> None:
    with TemporaryDirectory() as folder:  # Gradio makes a copy of its own
        path = Path(folder) / file
        path.write_bytes(content)
        gr.Image(
            str(path),
            alt_text=text,
            show_label=False,
            buttons=["fullscreen"],
            interactive=False,
            container=False,
            elem_classes="picture",
        )


def _names(config: ModelConfig) -> str:
    """Every class in a table that a box above it filters."""
    botanical = bool(config.descriptions)
    rows = "".join(
        f"<tr><th scope='row'>{escape(label)}</th>"
        + (f"<td><i>{escape(config.descriptions.get(label, ''))}</i></td>" if botanical else "")
        + f"<td>{_named(config.details, label)}</td></tr>"
        for label in config.labels
    )
    heading = f"The {len(config.labels)} names it knows"
    return f"""<h3>{heading}</h3>
<label>Search <input type="search"></label>
<div class="long" tabindex="0" role="region" aria-label="{heading}"><table>{rows}</table></div>"""


@_or_nothing
def _named(details: Mapping[str, Any], label: str) -> str:
    found = details["per_class"][label]
    return f"{round(found['recall'] * found['photos'])} of {found['photos']} photos named"


def _code(name: str) -> str:
    return f"""from flower_model import FlowerClassifier

model = FlowerClassifier.from_pretrained({json.dumps(name)})
answer = model.predict("photo.jpg")
print(answer.label, answer.probability)
"""


@_or_nothing
def _origin(details: Mapping[str, Any]) -> str:
    """What it was trained on, and whose photos these are."""
    lines = []
    if "train" in details:
        lines.append(f"Trained on {_photos(details['train'])}.")
    if "held_out" in details:
        held_out = details["held_out"]
        lines.append(f"Held out: {_photos(held_out)}, used for {held_out['used_for']}.")
    if made := details.get("made_with"):
        lines.append(f"Made in {made['minutes']:g} minutes on {made['machine']}.")
    lines += details.get("recipe", {}).get("data", {}).get("credits", [])
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h3>Data and licences</h3><ul>{items}</ul>" if items else ""


def _photos(source: Mapping[str, Any]) -> str:
    return f"{source['photos']} photos of {', '.join(source['sources'])}"
