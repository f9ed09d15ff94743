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
from flower_model.serialization.model_card import describe_rejection

# Metric -> its heading in the table.
COLUMNS = {
    "top1": "Correct name",
    "top5": "Correct name among the first five",
    "calibration_error": "Calibration error",
}
# As in the name of a runtime, such as "PyTorch on cuda, bf16" -> in a sentence.
DEVICES = {"cpu": "a CPU", "cuda": "a GPU"}
LIMIT = "A flower of another kind may get one of these names. Photos of small or many flowers are often misidentified."


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
    section(_names(config), elem_id="names")
    section(_measured(config.details))
    section(_origin(config.details))
    charts = {file: text for file, text in PICTURES.items() if file in model.pictures}
    if charts:
        with gr.Accordion("Technical charts", open=False, elem_id="charts"):
            for file, text in charts.items():
                section(f"<h3>{text}</h3>")
                _picture(file, model.pictures[file], text)
    section("<h3>In your code</h3>")
    gr.Code(
        _code(name),
        language="python",
        show_label=False,
        interactive=False,
        wrap_lines=True,
        show_line_numbers=False,
        buttons=["copy"],
        elem_id="code",
    )


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
    for device, text in DEVICES.items():
        runtime = runtime.replace(f" on {device}", f" on {text}")
    note = escape(f"{parts} · Runs in {runtime}")
    return f"<h2>{escape(name)}</h2><p class='note'>{note}</p>"


@_empty_if_malformed
def _licence(details: Mapping[str, Any]) -> str:
    licence = details["recipe"]["model"]["license"]
    return f" · Licence {licence}" if licence else ""


@_empty_if_malformed
def _measured(details: Mapping[str, Any]) -> str:
    """Return the metrics as a table with a row for each set of photos, and the rejection rule's."""
    sets = {"held-out photos": details.get("metrics", {}), **details.get("tests", {})}
    sets = {title: figures for title, figures in sets.items() if figures}
    if not sets:
        return ""
    head = "".join(f"<th scope='col'>{text}</th>" for text in COLUMNS.values())
    rows = "".join(
        f"<tr><th scope='row'>{escape(title)}</th>"
        + "".join(f"<td>{_figure(figures.get(key))}</td>" for key in COLUMNS)
        + "</tr>"
        for title, figures in sets.items()
    )
    # The model card writes "97.3 %", the page "97.3%".
    rejection = describe_rejection(details.get("rejection", {})).replace(" %", "%")
    return (
        "<h3>Accuracy</h3><table>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>{escape(rejection)}</p>"
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
    """Return every class with its botanical name and its look-alikes, below a search box."""
    rows = "".join(
        f"<li><b>{escape(label)}</b>"
        + (f" <i>{escape(botanical)}</i>" if (botanical := config.descriptions.get(label)) else "")
        + f"{_look_alikes(config.details, label)}</li>"
        for label in sorted(config.labels, key=str.casefold)
    )
    return f"""<h3>The {len(config.labels)} flowers it knows</h3>
<label>Search <input type="search"></label>
<p class="note" role="status"></p>
<details><summary>Show all</summary><ul>{rows}</ul></details>"""


@_empty_if_malformed
def _look_alikes(details: Mapping[str, Any], label: str) -> str:
    """Return the classes that photos of a class were taken for, the most frequent first."""
    found = details["per_class"][label]["taken_for"]
    others = sorted(found, key=lambda other: -int(found[other]))
    return f"<span>sometimes taken for {escape(', '.join(others))}</span>" if others else ""


def _code(name: str) -> str:
    return f"""from flower_model import FlowerClassifier

model = FlowerClassifier.from_pretrained({json.dumps(name)})
answer = model.predict("photo.jpg")
print(answer.label, answer.probability)
"""


@_empty_if_malformed
def _origin(details: Mapping[str, Any]) -> str:
    """Return the limits, the training data and its licences."""
    lines = [LIMIT]
    if "train" in details:
        lines.append(f"Trained on {_photos(details['train'])}.")
    if "held_out" in details:
        held_out = details["held_out"]
        lines.append(f"Held out: {_photos(held_out)}, used for {held_out['used_for']}.")
    if made := details.get("made_with"):
        unit = "minute" if made["minutes"] == 1 else "minutes"
        lines.append(f"Trained in {made['minutes']:g} {unit} on {made['machine']}.")
    lines += details.get("recipe", {}).get("data", {}).get("credits", [])
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h3>Limits and data</h3><ul>{items}</ul>"


def _photos(source: Mapping[str, Any]) -> str:
    return f"{source['photos']:,} photos of {', '.join(source['sources'])}"
