"""The model card: README.md of a weights folder, written from what its config.json knows."""

from typing import Any

from huggingface_hub import ModelCardData

from flower_model.config import ModelConfig

FIGURES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_per_class": "mean accuracy per class",
    "calibration_error": "expected calibration error (15 bins)",
}


def model_card(config: ModelConfig) -> str:
    """The card as Markdown with the Hub's front matter.

    Args:
        config: The model's; what it does not know is left out of the card.
    """
    recipe = config.details.get("recipe", {})
    data = ModelCardData(
        license=recipe.get("model", {}).get("license") or None,
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["timm", "image-classification", "flowers"],
        base_model=_base_model(config.details),
        metrics=["accuracy"],
    )
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# Flower classifier: {config.architecture}, {len(config.labels)} classes",
        _use(),
        _training(config.details),
        _measured(config.details),
        _limits(config),
        _credits(recipe),
        _classes(config),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _base_model(details: Any) -> str | None:
    source = details.get("recipe", {}).get("model", {}).get("pretrained", "")
    # A folder on somebody's disk says nothing to a reader of the Hub.
    return source if source.count("/") == 1 and not source.startswith((".", "/")) else None


def _use() -> str:
    return """## Use

```python
from flower_model import FlowerClassifier
model = FlowerClassifier.from_pretrained("weights")  # this folder, or user/repo on the Hub
answer = model.predict("photo.jpg")
print(answer.label, answer.probability)
```

`timm.create_model("local-dir:weights", pretrained=True)` loads the same network; divide its logits
by `flower_model.temperature` of config.json before the softmax to get the same probabilities."""


def _training(details: Any) -> str:
    if "recipe" not in details:
        return ""
    recipe, held_out = details["recipe"], details["held_out"]
    finetune = recipe["finetune"]
    trained_on = f"{details['train']['photos']} photos of {', '.join(details['train']['sources'])}"
    held_out_text = f"{held_out['photos']} photos of {', '.join(held_out['sources'])}"
    crops = ", ".join(map(str, finetune["image_sizes"]))
    schedule = f"{finetune['epochs']} epochs of {finetune['optimizer']}, crops of {crops} pixels"
    lines = [
        "## Training",
        "",
        f"- trained on: {trained_on}",
        f"- held out: {held_out_text}, used for {held_out['used_for']}",
        f"- recipe `{recipe['name']}`: {schedule}; every setting is in config.json",
    ]
    if "made_with" in details:
        made = details["made_with"]
        versions = f"torch {made['torch']}, timm {made['timm']}"
        lines.append(f"- {made['minutes']} minutes on {made['machine']}, {versions}")
    return "\n".join(lines)


def _measured(details: Any) -> str:
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
    head = [f"| | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    text = "The held-out photos fitted what is said above; the other sources chose nothing."
    return "\n".join(["## Measured", "", *head, *rows, *(["", text] if len(columns) > 1 else [])])


def _limits(config: ModelConfig) -> str:
    return f"""## Limits

- It knows {len(config.labels)} classes and answers with one of them whatever the photo shows.
- Its accuracy was measured on photos of the kind it was trained on, mostly close views of blossoms;
  on others it will be lower.
- It names what a flower looks like: do not eat or handle a plant on its word."""


def _credits(recipe: Any) -> str:
    lines = recipe.get("data", {}).get("credits", [])
    return (
        "\n".join(["## Data and licences", "", *(f"- {line}" for line in lines)]) if lines else ""
    )


def _classes(config: ModelConfig) -> str:
    names = [
        f"{label} (*{config.descriptions[label]}*)" if label in config.descriptions else label
        for label in config.labels
    ]
    return "## Classes\n\n" + ", ".join(names) + "."
