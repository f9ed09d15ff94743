"""Tab "About": the loaded model as its weights folder describes it."""

import json
from collections.abc import Callable, Mapping
from functools import wraps
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from flower_model.classifier import FlowerClassifier
from flower_model.config import PICTURES, ModelConfig
from flower_model.serialization.model_card import METRIC_NAMES, describe_rejection


def about_tab(model: FlowerClassifier, name: str) -> None:
    """Build the tab inside the current `gr.Tab`; missing information is omitted.

    Args:
        model: The model.
        name: Folder or Hub repository that it was loaded from.
    """
    config = model.config

    def section(content: str, **options: Any) -> None:
        if content:
            gr.HTML(content, elem_classes="about", **options)

    section(_summary(config, name, model.runtime.name))
    section(_measured(config.details))
    for file, text in PICTURES.items():
        if file in model.pictures:
            section(f"<h3>{text}</h3>")
            _picture(file, model.pictures[file], text)
    section(_names(config), elem_id="names")
    section("<h3>In your code</h3>")
    gr.Code(_code(name), language="python", show_label=False, interactive=False, elem_id="code")
    section(_origin(config.details))


def _empty_if_malformed(render: Callable[..., str]) -> Callable[..., str]:
    """Omit a section whose data in an untrusted config.json has an unexpected form."""

    @wraps(render)
    def rendered(*args: Any) -> str:
        try:
            return render(*args)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError):
            return ""

    return rendered


def _summary(config: ModelConfig, name: str, runtime: str) -> str:
    parts = f"{config.architecture}, {len(config.labels)} names{_licence(config.details)}"
    note = escape(f"{parts} · runs in {runtime}")
    return f"<h2>{escape(name)}</h2><p class='note'>{note}</p>"


@_empty_if_malformed
def _licence(details: Mapping[str, Any]) -> str:
    return f" · licence {details['recipe']['model']['license']}"


@_empty_if_malformed
def _measured(details: Mapping[str, Any]) -> str:
    """Return the metrics as a table with a column for each set of photos."""
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
    with TemporaryDirectory() as folder:  # Gradio makes a copy
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
    """Return every class in a table with a search box."""
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


@_empty_if_malformed
def _named(details: Mapping[str, Any], label: str) -> str:
    found = details["per_class"][label]
    return f"{round(found['recall'] * found['photos'])} of {found['photos']} photos correct"


def _code(name: str) -> str:
    return f"""from flower_model import FlowerClassifier

model = FlowerClassifier.from_pretrained({json.dumps(name)})
answer = model.predict("photo.jpg")
print(answer.label, answer.probability)
"""


@_empty_if_malformed
def _origin(details: Mapping[str, Any]) -> str:
    """Return the training data and its licences."""
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
