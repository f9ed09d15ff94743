"""The model card: README.md of a weights folder, written from what its config.json knows."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from flower_model.config import PICTURES, ModelConfig

FIGURES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_per_class": "mean accuracy per class",
    "calibration_error": "expected calibration error (15 bins)",
}


def model_card(config: ModelConfig, name: str = "", pictures: Collection[str] = ()) -> str:
    """The card as Markdown with the Hub's front matter.

    Args:
        config: The model's; what it does not know is left out of the card.
        name: "user/repo" on the Hub; "" for a folder, called weights in the card's code.
        pictures: Which of `PICTURES` lie beside the card.
    """
    try:
        return _card(config, name, pictures)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError):
        # A stranger's config.json may hold anything under these keys.
        return _card(replace(config, details={}), name, pictures)


def _card(config: ModelConfig, name: str, pictures: Collection[str]) -> str:
    details = config.details
    recipe = details.get("recipe", {})
    data = ModelCardData(
        license=recipe.get("model", {}).get("license") or None,
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["timm", "transformers", "image-classification", "flowers"],
        datasets=list(recipe.get("data", {}).get("datasets", [])) or None,
        base_model=_base_model(recipe),
        metrics=["accuracy"],
        model_name=name.rpartition("/")[2] or recipe.get("name") or config.architecture,
        eval_results=_eval_results(details) or None,
        co2_eq_emissions=details.get("made_with", {}).get("emissions"),
    )
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# Flower classifier: {plain(config.architecture)}, {len(config.labels)} classes",
        _use(name),
        _training(details),
        _measured(details),
        _pictures(pictures),
        _per_class(details.get("per_class", {})),
        _limits(config),
        _credits(recipe),
        _classes(config),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def plain(text: object) -> str:
    """A text as Markdown that shows it as it is: no link, picture, HTML or table comes of it."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*\[\]<>|~&$]|(?<!\w)_|_(?!\w)|^[#+-])", r"\\\1", line)


def _base_model(recipe: Mapping[str, Any]) -> str | None:
    source = recipe.get("model", {}).get("pretrained", "").partition("@")[0]  # without revision
    # A folder on somebody's disk says nothing to a reader of the Hub.
    return source if source.count("/") == 1 and not source.startswith((".", "/")) else None


def _eval_results(details: Mapping[str, Any]) -> list[EvalResult]:
    """What the Hub shows beside the card: accuracies on the held-out photos and the test sources."""
    measured = dict(details.get("tests", {}))
    if "metrics" in details:
        measured = {" + ".join(details["held_out"]["sources"]): details["metrics"], **measured}
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",  # the Hub's loader for what these are: folders of photos
            dataset_name=source,
            dataset_config=source.partition(":")[0],  # or all of one type and split become one
            dataset_split=source.rpartition(":")[2] if source.count(":") == 1 else None,
            metric_type="accuracy",
            metric_name=FIGURES[key],
            metric_value=figures[key],
        )
        for source, figures in measured.items()
        for key in ("top1", "top5")
    ]


def _use(name: str) -> str:
    folder = "weights"
    return f"""## Use

With this project's package:

```python
from flower_model import FlowerClassifier

model = FlowerClassifier.from_pretrained("{name or folder}")
answer = model.predict("photo.jpg")
print(answer.is_flower, answer.label, answer.probability)
```

With timm:

```python
import timm
import torch
from PIL import Image

model = timm.create_model("{f"hf-hub:{name}" if name else f"local-dir:{folder}"}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config({{}}, model=model))
with torch.inference_mode():
    logits = model(transform(Image.open("photo.jpg").convert("RGB"))[None])
print(model.pretrained_cfg["label_names"][logits.argmax()])
```

With transformers:

```python
from transformers import pipeline

classifier = pipeline("image-classification", model="{name or f"./{folder}"}")
print(classifier("photo.jpg")[0])
```

All three give the same logits. The first divides them by the temperature in config.json before the
softmax, so that its probabilities are calibrated, and says whether there is a flower at all; the
other two do neither."""


def _training(details: Mapping[str, Any]) -> str:
    if "recipe" not in details:
        return ""
    recipe, held_out = details["recipe"], details["held_out"]
    finetune = recipe["finetune"]
    trained_on = f"{details['train']['photos']} photos of {_list(details['train']['sources'])}"
    held_out_text = f"{held_out['photos']} photos of {_list(held_out['sources'])}"
    crops = ", ".join(map(str, finetune["image_sizes"]))
    schedule = f"{finetune['epochs']} epochs of {finetune['optimizer']}, crops of {crops} pixels"
    lines = [
        "## Training",
        "",
        f"- trained on: {trained_on}",
        f"- held out: {held_out_text}, used for {plain(held_out['used_for'])}",
        f"- recipe {plain(recipe['name'])}: {plain(schedule)}; every setting is in config.json",
    ]
    if "made_with" in details:
        made = details["made_with"]
        versions = f"torch {made['torch']}, timm {made['timm']}"
        for run in details.get("earlier", []):
            before = f"recipe {run['recipe']}, {run['minutes']} minutes on {run['machine']}"
            lines.append(f"- from the weights of an earlier round: {plain(before)}")
        if "averaged" in details:
            lines.append(
                f"- its weights are the mean of these rounds: {_list(details['averaged'])}"
            )
        lines.append("- " + plain(f"{made['minutes']} minutes on {made['machine']}, {versions}"))
        if "phases" in made:
            phases = (f"{phase} {seconds:.0f} s" for phase, seconds in made["phases"].items())
            lines.append(f"- where they went: {plain(', '.join(phases))}")
        if "emissions" in made:
            grams, source = made["emissions"]["emissions"], made["emissions"]["source"]
            lines.append(f"- about {grams:g} g of CO₂ equivalent ({plain(source)})")
    return "\n".join(lines)


def _list(texts: Collection[str]) -> str:
    return ", ".join(map(plain, texts))


def _measured(details: Mapping[str, Any]) -> str:
    if "metrics" not in details:
        return ""
    columns = {"held-out photos": details["metrics"], **details.get("tests", {})}
    rows = [
        f"| {text} | " + " | ".join(f"{100 * c[key]:.2f} %" for c in columns.values()) + " |"
        for key, text in FIGURES.items()
    ]
    rows.append(
        "| log loss | " + " | ".join(f"{c['log_loss']:.3f}" for c in columns.values()) + " |"
    )
    head = [f"| | {' | '.join(map(plain, columns))} |", "| --- |" + " --- |" * len(columns)]
    paragraphs = [_calibrated(details), flower_or_not(details.get("rejection", {}))]
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    return "\n".join(["## Measured", "", *head, *rows, *(["", text] if text else [])])


def _calibrated(details: Mapping[str, Any]) -> str:
    if "calibration" not in details:
        return ""
    found = details["calibration"]
    start = f"The calibration error of all {found['photos']} photos of {' and '.join(map(plain, found['sources']))} is"
    by_chance = f"""Of so few photos exact probabilities would
show {100 * found["error_by_chance"]:.2f} % by chance alone, and more than {100 * found["error_by_bad_luck"]:.2f} % in one case of twenty."""
    if not found.get("fitted", True):
        return f"""{start}
{100 * found["error"]:.2f} %; they are too few to fit a temperature to. {by_chance}"""
    return f"""{start}
{100 * found["error_before"]:.2f} % before the temperature and {100 * found["error"]:.2f} % after it. {by_chance} These photos fitted the temperature,
but none the one that it was measured with: that comes from the other four fifths."""


def flower_or_not(rule: Mapping[str, Any]) -> str:
    """How well it tells whether there is a flower at all; "" where that was not measured."""
    if "flowers_kept" not in rule:
        return ""
    unseen = "each fifth judged by a rule that the other four fifths fitted"
    if "others" not in rule:
        return f"""Of {rule["flowers"]} held-out flowers {100 * rule["flowers_kept"]:.1f} % are called flowers, {unseen}. No photos of
anything else were there to fit the rule to or to measure it by."""
    return f"""Of {rule["flowers"]} held-out flowers {100 * rule["flowers_kept"]:.1f} % are called flowers, and so are {100 * rule["others_let_through"]:.1f} % of {rule["others"]} other
photos (area under the ROC curve {rule["auroc"]:.4f}), {unseen}."""


def _pictures(pictures: Collection[str]) -> str:
    return "\n\n".join(f"![{text}]({file})" for file, text in PICTURES.items() if file in pictures)


def _per_class(classes: Mapping[str, Mapping[str, float]]) -> str:
    """A table that can be opened, the worst class first."""
    if not classes:
        return ""
    order = sorted(classes.items(), key=lambda item: (item[1]["recall"], item[1]["precision"]))
    rows = "\n".join(
        f"| {plain(label)} | {c['photos']} | {100 * c['recall']:.0f} % | {100 * c['precision']:.0f} % |"
        for label, c in order
    )
    return f"""<details><summary>By class</summary>

Recall is the share of a class's photos that got its name, precision how often the name was right.

| class | photos | recall | precision |
| --- | ---: | ---: | ---: |
{rows}

</details>"""


def _limits(config: ModelConfig) -> str:
    first = f"It knows {len(config.labels)} classes and answers with one of them whatever the photo shows."
    if "rejection" in config.details:
        first = f"""It knows {len(config.labels)} classes. That a photo shows no flower it says in `is_flower`, if not always;
  a flower of any other kind gets one of its names all the same."""
    return f"""## Limits

- {first}
- Its accuracy was measured on photos of the kind it was trained on, mostly close views of blossoms;
  on others it will be lower.
- It names what a flower looks like: do not eat or handle a plant on its word."""


def _credits(recipe: Mapping[str, Any]) -> str:
    lines = recipe.get("data", {}).get("credits", [])
    return (
        "\n".join(["## Data and licences", "", *(f"- {plain(line)}" for line in lines)])
        if lines
        else ""
    )


def _classes(config: ModelConfig) -> str:
    names = [
        f"{plain(label)} (*{plain(config.descriptions[label])}*)"
        if label in config.descriptions
        else plain(label)
        for label in config.labels
    ]
    return "## Classes\n\n" + ", ".join(names) + "."
