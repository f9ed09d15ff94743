"""What a model's config.json, and so its card, says about how the model came to be."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch

from flower_model.config import CONFIG_FILE
from training.data.sampling import Photos
from training.data.shards import PREFIX
from training.data.sources import fingerprint
from training.recipe import Recipe


def provenance(recipe: Recipe, photos: Photos, phases: Mapping[str, float]) -> dict[str, Any]:
    """The recipe, the photos and the machine, as plain JSON values; `calibrate` adds the figures.

    Args:
        recipe: The run.
        photos: What it was trained on and what was held out.
        phases: Seconds of each phase so far.
    """
    earlier = _earlier(recipe.model.pretrained)
    minutes = sum(phases.values()) / 60
    all_minutes = minutes + sum(run["minutes"] for run in earlier)
    cores = f"{os.cpu_count()} {platform.machine()} cores"
    return {
        "recipe": _published(recipe),
        "train": {"sources": _names(recipe.data.train), "photos": photos.count},
        "held_out": {
            "sources": _names(recipe.data.val),
            "photos": len(photos.val),
            "sha256": fingerprint(photos.val.photos),
        },
        "made_with": {
            "torch": torch.__version__,
            "timm": timm.__version__,
            "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else cores,
            "minutes": round(minutes, 1),
            "phases": {phase: round(seconds, 1) for phase, seconds in phases.items()},
            "emissions": _emissions(60 * all_minutes),
        },
        **({"earlier": earlier} if earlier else {}),
    }


def may_know(recipe: Recipe, held_out: str) -> bool:
    """Whether the first weights may have been trained on photos that are held out now.

    Args:
        recipe: The run.
        held_out: The fingerprint of what it holds out.
    """
    details = _details_of(recipe.model.pretrained)
    try:
        other = details["held_out"]["sha256"] != held_out
        return other and not set(details["train"]["sources"]).isdisjoint(_names(recipe.data.train))
    except (KeyError, TypeError):  # no run's
        return False


def _earlier(pretrained: str) -> list[dict[str, Any]]:
    """The runs that made the first weights, if those were a run's: recipe, minutes and machine."""
    details = _details_of(pretrained)
    try:
        run = {"recipe": details["recipe"]["name"]}
        run |= {key: details["made_with"][key] for key in ("minutes", "machine")}
    except (KeyError, TypeError):
        return []
    return [*details.get("earlier", []), run]


def _details_of(pretrained: str) -> dict[str, Any]:
    """What a weights folder says of the run that made it; nothing if none did."""
    try:
        details = json.loads((Path(pretrained) / CONFIG_FILE).read_text("utf-8"))["flower_model"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return details if isinstance(details, dict) else {}


def _emissions(seconds: float) -> dict[str, Any]:
    """An estimate for the card's co2_eq_emissions; what was not measured is said to be assumed."""
    gpu = torch.cuda.is_available()
    watts = 400 if gpu else 15 * (os.cpu_count() or 1)
    grams = seconds / 3600 * watts / 1000 * 450
    device = "a GPU" if gpu else "15 watts a processor core"
    return {
        "emissions": float(f"{grams:.2g}"),
        "source": f"the run's time, assuming {watts} watts ({device}) and 450 g a kWh",
        "training_type": "fine-tuning",
        "hardware_used": torch.cuda.get_device_name() if gpu else platform.machine(),
    }


def published_name(source: str) -> str:
    """A source of photos without the folders that it lies in; one of the Hub as it is."""
    return source if source.startswith(PREFIX) else source.rstrip("/").rsplit("/", 1)[-1]


def rounded(metrics: dict[str, Any]) -> dict[str, Any]:
    """The figures alone, to five digits."""
    figures = (int, float)
    return {key: round(value, 5) for key, value in metrics.items() if isinstance(value, figures)}


def _published(recipe: Recipe) -> dict[str, Any]:
    """The recipe without the paths of the machine that ran it."""
    content = recipe.model_dump(mode="json")
    for key in ("train", "val", "test", "calibrate"):
        content["data"][key] = _names(content["data"][key])
    if Path(recipe.model.pretrained).is_dir():
        content["model"]["pretrained"] = Path(recipe.model.pretrained).name
    return content


def _names(sources: Sequence[str]) -> list[str]:
    return [published_name(source) for source in sources]
