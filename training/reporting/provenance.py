"""Provenance: the record of a run in config.json, from which the model card is written."""

import itertools
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch

from flower_model.config import CONFIG_FILE
from training.data.folders import HUB_PREFIX
from training.data.sampling import Photos
from training.data.sources import fingerprint
from training.recipe import Recipe


def provenance(recipe: Recipe, photos: Photos, phases: Mapping[str, float]) -> dict[str, Any]:
    """Return the recipe, photos and hardware of a run as JSON values; `calibrate` adds metrics.

    `phases` has the seconds of each phase so far.
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


def may_have_seen(recipe: Recipe, held_out: str) -> bool:
    """Return True if the pretrained weights may have been trained on photos that are held out now.

    `held_out` is the fingerprint of the held-out photos.
    """
    details = _details_of(recipe.model.pretrained)
    try:
        other = details["held_out"]["sha256"] != held_out
        return other and not set(details["train"]["sources"]).isdisjoint(_names(recipe.data.train))
    except (KeyError, TypeError):  # not the weights of a run
        return False


def _earlier(pretrained: str) -> list[dict[str, Any]]:
    """Return recipe, minutes and machine of the earlier runs that produced the pretrained weights."""
    details = _details_of(pretrained)
    try:
        run = {"recipe": details["recipe"]["name"]}
        run |= {key: details["made_with"][key] for key in ("minutes", "machine")}
    except (KeyError, TypeError):
        return []
    return [*details.get("earlier", []), run]


def _details_of(pretrained: str) -> dict[str, Any]:
    """Return the provenance in a weights folder, empty if it was not made by a run."""
    try:
        details = json.loads((Path(pretrained) / CONFIG_FILE).read_text("utf-8"))["flower_model"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return details if isinstance(details, dict) else {}


def _emissions(seconds: float) -> dict[str, Any]:
    """Estimate the card's co2_eq_emissions from the duration and stated assumptions."""
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


def public_source_name(source: str) -> str:
    """Return a source without the path of its folder; a Hub dataset is returned unchanged."""
    return source if source.startswith(HUB_PREFIX) else source.rstrip("/").rsplit("/", 1)[-1]


def distinct_source_names(sources: Sequence[str]) -> list[str]:
    """Return the public names of sources; those of several are numbered, as in "photos (2):test"."""
    names: list[str] = []
    for source in sources:
        public = public_source_name(source)
        name, colon, split = public.partition(":")
        numbered = (f"{name} ({number}){colon}{split}" for number in itertools.count(2))
        names.append(next(n for n in itertools.chain([public], numbered) if n not in names))
    return names


def round_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the numeric values, rounded to five decimals."""
    numbers = (int, float)
    return {key: round(value, 5) for key, value in metrics.items() if isinstance(value, numbers)}


def _published(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe without local paths."""
    content = recipe.model_dump(mode="json")
    for key in ("train", "val", "test", "calibrate", "negatives", "other_flowers"):
        content["data"][key] = _names(content["data"][key])
    if Path(recipe.model.pretrained).is_dir():
        content["model"]["pretrained"] = Path(recipe.model.pretrained).name
    return content


def _names(sources: Sequence[str]) -> list[str]:
    return [public_source_name(source) for source in sources]
