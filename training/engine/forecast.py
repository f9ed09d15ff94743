"""Forecast of a run: its phases and their duration on this machine, from ten steps per image size."""

import contextlib
import csv
import io
import math
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from torch import nn

from flower_model.errors import DataError
from flower_model.runtimes.base import Runtime
from training.data.decoded import DecodedPhotos, decode_photos, resize_side
from training.data.folders import Photo
from training.data.loader import batch_plan
from training.data.sampling import Photos
from training.data.sources import gather
from training.data.streaming import open_stream
from training.engine.clock import Clock
from training.engine.finetune import finetune
from training.engine.inference import compute_of, fastest_runtime, predict_photos, torch_runtime
from training.engine.preflight import check_network
from training.engine.pretrained import create_network
from training.recipe import Recipe

STEPS = 10
VALIDATED = 64  # photos in the timed validation


@dataclass(frozen=True)
class Trial:
    """Measured seconds per photo.

    Attributes:
        decode: Opening and shrinking.
        probe: Computing features at the probe's image size; 0 without a probe.
        steps: Image size in pixels -> training.
        validate: Validation.
    """

    decode: float
    probe: float
    steps: dict[int, float]
    validate: float


def forecast(recipe: Recipe, data_root: Path, accelerator: Accelerator) -> str:
    """Describe a run in a few lines, with the estimated duration of each phase.

    Raises:
        FlowerModelError: If the recipe, the data or the weights would make the run fail.
    """
    train, val = gather(recipe.data, data_root)
    stream = open_stream(recipe.data, data_root)
    counts = stream.counts if stream else Counter(photo.label for photo in train)
    labels = sorted(counts)
    network: Any = create_network(recipe.model, len(labels)).to(accelerator.device)
    check_network(network, recipe)
    trial = _run_trial(network, recipe, train, val, labels, accelerator)
    return "\n".join(_lines(recipe, counts, len(train), len(val), network, trial))


def _run_trial(
    network: nn.Module,
    recipe: Recipe,
    train: list[Photo],
    val: list[Photo],
    labels: list[str],
    accelerator: Accelerator,
) -> Trial:
    settings = recipe.finetune
    sizes = tuple(dict.fromkeys(settings.image_sizes))
    side = resize_side(recipe.model.test_size, recipe.model.crop)
    rng = np.random.default_rng(recipe.seed)

    def sample(photos: list[Photo], count: int) -> DecodedPhotos:
        drawn = rng.permutation(len(photos))[:count]
        return decode_photos([photos[index] for index in drawn], side, "measuring", cache=False)

    few = sample(val, VALIDATED)
    started = time.monotonic()
    some = sample(train, STEPS * settings.batch_size)
    if not some or not few:
        raise DataError("None of the sampled photos can be opened. Replace them.")
    decode = (time.monotonic() - started) / len(some)
    photos = Photos(labels, some, few)

    def seconds(runtime: Runtime) -> float:
        started = time.monotonic()
        predict_photos(runtime, few, title="measuring")
        return (time.monotonic() - started) / len(few)

    compute = compute_of(accelerator)
    probe = 0.0
    if recipe.probe:
        probe = seconds(fastest_runtime(network, compute, recipe.probe.image_size))
    validate = seconds(torch_runtime(network, compute))
    if not settings.epochs:
        return Trial(decode, probe, {}, validate)
    update = {"epochs": len(sizes), "image_sizes": sizes, "min_steps": 1}
    short = settings.model_copy(update=update)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        finetune(
            network,
            photos,
            recipe.model_copy(update={"finetune": short, "probe": False}),
            Path(folder),
            accelerator=accelerator,
            clock=Clock(),
            resume=False,
        )
        rows = list(csv.DictReader((Path(folder) / "metrics.csv").open(encoding="utf-8")))
    drawn = math.prod(batch_plan(len(some), short))
    steps = {int(row["image_size"]): float(row["epoch_seconds"]) / drawn for row in rows}
    return Trial(decode, probe, steps, validate)


def _lines(
    recipe: Recipe, counts: Counter[str], decoded: int, val: int, network: nn.Module, trial: Trial
) -> list[str]:
    settings, model, train = recipe.finetune, recipe.model, counts.total()
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    weights = sum(p.numel() for p in network.parameters()) / 1e6
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
    classes = f"{len(counts)} classes from {least} ({few}) to {most} ({many})"
    facts = {
        "photos": f"{train} for training, {val} held out; {classes}",
        "network": f"{model.architecture} from {model.pretrained or 'random weights'}",
        "": f"{weights:.1f} million weights, {trained:.1f} million of them fine-tuned",
    }
    side = resize_side(model.test_size, model.crop)
    phases = [("decode", f"all photos, to {side} pixels", trial.decode * (decoded + val))]
    if recipe.probe:
        text = f"features at {recipe.probe.image_size} pixels, without the fit of the head"
        phases.append(("probe", text, trial.probe * decoded))
    batch_size, steps = batch_plan(train, settings)
    for size, epochs in Counter(map(settings.size_of, range(settings.epochs))).items():
        speed = f"{1000 * trial.steps[size]:.0f} ms/photo"
        each = f"{_count(steps, 'step')} of {batch_size} photos each, {speed}"
        text = f"{_count(epochs, 'epoch')} at {size} pixels, {each}"
        phases.append(("fine-tune", text, epochs * trial.steps[size] * steps * batch_size))
    validations = settings.epochs + bool(recipe.probe)
    text = f"{_count(validations, 'time')} at {model.test_size} pixels"
    phases.append(("validate", text, validations * trial.validate * val))
    text = f"on this machine, from {STEPS} measured steps per image size"
    phases.append(("total", text, sum(seconds for *_, seconds in phases)))
    return [
        f"Recipe {recipe.name}",
        *(f"  {name:<10}{text}" for name, text in facts.items()),
        *(f"  {name:<10}{text}: {_duration(seconds)}" for name, text, seconds in phases),
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
