"""Ablations: the effect of each choice in a recipe, changed one at a time.

    python -m benchmarks.training.ablations stall proposals ours

Three studies: why training stalled in the report, which of the report's proposals would have helped,
and the contribution of each part of our recipe. Every variant trains on the five classes for the
same number of epochs and with several seeds, on small images so that two cores suffice. Finished
runs are stored in results/ablations.csv and not repeated; results/ablations.md is written from it.
Requires FLOWER_DATA and FLOWER_PRETRAINED.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import nn

from benchmarks.machine import RESULTS, read_csv
from flower_model.system.memory import keep_freed_memory
from training.data.decoded import resize_side
from training.data.sampling import Photos, load_photos
from training.engine.clock import Clock
from training.engine.finetune import finetune
from training.engine.inference import compute_of
from training.engine.linear_probe import probe_head
from training.engine.pretrained import create_network
from training.recipe import Recipe, load_recipe, merge, parse_change
from training.train import prepare_accelerator

RUNS = RESULTS / "ablations.csv"
SEEDS = (0, 1, 2)
STEPS = 62  # per epoch: 2,014 photos in batches of 32


@dataclass(frozen=True)
class Variant:
    """A recipe with some settings changed.

    Attributes:
        text: Description in the table.
        changes: Arguments of `--set`.
    """

    text: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A table of variants; the first one is the baseline.

    Attributes:
        title: Title of the table.
        recipe: The recipe that the variants change.
        common: Changes that all variants share: the compute budget.
        variants: Short name -> variant.
    """

    title: str
    recipe: str
    common: tuple[str, ...]
    variants: dict[str, Variant]


SMALL = ("model.test_size=96", "finetune.precision='bf16'", "finetune.image_sizes=[96]")
# Two epochs, the second at a tenth of the learning rate, stand in for the report's 25 epochs with a
# decay every 7th.
REPORT = (*SMALL, "finetune.epochs=2", "finetune.step_epochs=1")
EACH_BATCH = f"finetune.step_epochs={7 / STEPS:.6f}"
HEAD_ONLY = "finetune.freeze=5"
AUGMENTED = ("finetune.augment='crop-flip-colour'", "model.crop=0.95")
OURS = (
    "finetune.freeze=0",
    "finetune.batch_norm='train'",
    "model.test_size=128",
    "probe.image_size=112",
    "finetune.epochs=2",
    "finetune.image_sizes=[96]",
)

STUDIES = {
    "stall": Study(
        "Why training stalled in the report",
        "report",
        REPORT,
        {
            "report": Variant("the report's recipe: all layers at 1e-3"),
            "low-rate": Variant("all layers at 1e-4", ("finetune.lr=1e-4",)),
            "batch-norm": Variant(
                "all layers at 1e-3, frozen batch norm statistics",
                ("finetune.batch_norm='frozen'",),
            ),
            "each-batch": Variant("all layers, rate decayed every 7th batch", (EACH_BATCH,)),
            "head": Variant("only the new head at 1e-3", (HEAD_ONLY,)),
            "head-each-batch": Variant(
                "only the new head, rate decayed every 7th batch", (HEAD_ONLY, EACH_BATCH)
            ),
        },
    ),
    "proposals": Study(
        "Proposals of the report",
        "report",
        REPORT,
        {
            "stalled": Variant(
                "only the head, rate decayed every 7th batch", (HEAD_ONLY, EACH_BATCH)
            ),
            "stalled-augmented": Variant(
                "… with random crops and colour jitter", (HEAD_ONLY, EACH_BATCH, *AUGMENTED)
            ),
            "stalled-stage": Variant(
                "… with the last stage unfrozen too", ("finetune.freeze=4", EACH_BATCH)
            ),
            "head": Variant("only the head, rate decayed as intended", (HEAD_ONLY,)),
            "head-augmented": Variant(
                "… with random crops and colour jitter", (HEAD_ONLY, *AUGMENTED)
            ),
            "stage": Variant("… with the last stage unfrozen too", ("finetune.freeze=4",)),
            "low-rate": Variant("… with all layers unfrozen, at 1e-4", ("finetune.lr=1e-4",)),
            "low-rate-augmented": Variant(
                "… all layers at 1e-4, random crops and colour jitter",
                ("finetune.lr=1e-4", *AUGMENTED),
            ),
            "low-rate-deeper": Variant(
                "… all layers at 1e-4, deeper network",
                ("finetune.lr=1e-4", "model.architecture='resnet101'"),
            ),
        },
    ),
    "ours": Study(
        "Parts of our recipe",
        "flowers5",
        OURS,
        {
            "ours": Variant("ours, 2 epochs at 96 pixels"),
            "progressive": Variant("80, then 112 pixels", ("finetune.image_sizes=[80, 112]",)),
            "freeze": Variant("frozen stem and two stages", ("finetune.freeze=3",)),
            "batch-norm": Variant(
                "frozen batch norm statistics", ("finetune.batch_norm='frozen'",)
            ),
            "fp32": Variant("in fp32", ("finetune.precision='fp32'",)),
            "no-probe": Variant("random head instead of the probe", ("probe=false",)),
        },
    ),
}


def main() -> None:
    """Run the missing variants, then write ablations.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", help=f"of {', '.join(STUDIES)} (default: none)")
    options = parser.parse_args()
    keep_freed_memory()
    for seed in SEEDS:  # one seed of every variant first
        for name in options.studies:
            study = STUDIES[name]
            for variant in study.variants.values():
                _run_once(study, variant, seed)
    (RESULTS / "ablations.md").write_text(_page(read_csv(RUNS)), encoding="utf-8")


def _key(study: Study, variant: Variant) -> str:
    """Return the key of a run, which is the same for equal variants of different studies."""
    return json.dumps([study.recipe, *study.common, *variant.changes])


def _run_once(study: Study, variant: Variant, seed: int) -> None:
    key = _key(study, variant)
    if any(row["run"] == key and row["seed"] == str(seed) for row in read_csv(RUNS)):
        return
    rows = run(study.recipe, (*study.common, *variant.changes), seed)
    best = max(float(row["val_accuracy"]) for row in rows)
    new = not RUNS.exists()
    with RUNS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["run", "seed", "first", "last", "best", "train"])
        trained = [row for row in rows if row["epoch"] != "0"]
        first, last = trained[0], trained[-1]
        metrics = (first["val_accuracy"], last["val_accuracy"], best, last["train_accuracy"])
        writer.writerow([key, seed, *metrics])
    print(variant.text, seed, *metrics, flush=True)


def run(recipe_name: str, changes: tuple[str, ...], seed: int) -> list[dict[str, str]]:
    """Train a recipe with changes as `training.train` does; return the rows of its metrics.csv."""
    recipe = changed_recipe(recipe_name, changes, seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        if recipe.model.architecture == "resnet101":
            deeper = deepened(recipe.model.pretrained, Path(folder) / "deeper")
            model = recipe.model.model_copy(update={"pretrained": str(deeper)})
            recipe = recipe.model_copy(update={"model": model})
        accelerator, photos, network = prepare(recipe)
        if recipe.probe:
            probe_head(network, photos, recipe, compute_of(accelerator))
        finetune(
            network,
            photos,
            recipe,
            Path(folder),
            accelerator=accelerator,
            clock=Clock(),
            resume=False,
        )
        return read_csv(Path(folder) / "metrics.csv")


def changed_recipe(name: str, changes: tuple[str, ...], seed: int) -> Recipe:
    """Return a recipe with changes in the form of `--set`, on the shared pretrained weights."""
    settings: dict[str, Any] = {"seed": seed}
    for text in (*changes, f"model.pretrained='{os.environ['FLOWER_PRETRAINED']}'"):
        settings = merge(settings, parse_change(text))
    return load_recipe(name, settings)


def prepare(recipe: Recipe) -> tuple[Accelerator, Photos, nn.Module]:
    """Return accelerator, photos and network, created as in `training.train`."""
    AcceleratorState._reset_state()  # it fixes the precision of a process; runs differ in it
    accelerator = prepare_accelerator(recipe)
    side = resize_side(recipe.model.test_size, recipe.model.crop)
    photos = load_photos(recipe.data, Path(os.environ["FLOWER_DATA"]), side)
    torch.manual_seed(recipe.seed)
    network = create_network(recipe.model, len(photos.labels))
    network = network.to(memory_format=torch.channels_last).to(accelerator.device)
    return accelerator, photos, network


def deepened(pretrained: str, folder: Path) -> Path:
    """Write a ResNet-101 that computes the same function as a ResNet-50 (Net2Net, Chen et al. 2016).

    The additional blocks are initialised as the identity, with a scale of 0 in their last batch
    norm. This stands in for pretrained weights of the deeper network.
    """
    shallow = timm.create_model(f"local-dir:{pretrained}", pretrained=True)
    deep = timm.create_model("resnet101", zero_init_last=True)
    deep.load_state_dict({**deep.state_dict(), **shallow.state_dict()})
    folder.mkdir()
    save_file(deep.state_dict(), folder / "model.safetensors")
    content = json.loads((Path(pretrained) / "config.json").read_text(encoding="utf-8"))
    content["architecture"] = "resnet101"
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _page(rows: list[dict[str, str]]) -> str:
    lines = [
        "# Ablations",
        "",
        f"Made by `python -m benchmarks.training.ablations {' '.join(STUDIES)}`. Five classes, 2,014 training",
        "photos; accuracy on the 383 held-out photos in %, mean ± standard deviation over the seeds. All runs",
        "hold out the same photos, so that the deviation is that of training alone. Each variant changes one",
        "thing and trains for the same number of epochs.",
    ]
    for study in STUDIES.values():
        lines += ["", f"## {study.title}", "", f"`{study.recipe}` with"]
        lines[-1] += f" `{' '.join(study.common)}`."
        lines += ["", "| | first epoch | last epoch | training photos | seeds |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        for variant in study.variants.values():
            runs = _runs_of(study, variant, rows)
            if runs:
                cells = [_spread(runs, column) for column in ("first", "last", "train")]
                lines.append(f"| {variant.text} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines) + "\n"


def spread_of(study: Study, variant: str) -> str:
    """Return a variant's accuracy after the last epoch as a table cell, empty if it was not run."""
    runs = _runs_of(study, study.variants[variant], read_csv(RUNS))
    return f"{_spread(runs, 'last')} %" if runs else ""


def _runs_of(study: Study, variant: Variant, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["run"] == _key(study, variant)]


def _spread(runs: list[dict[str, str]], column: str) -> str:
    values = 100 * np.array([float(row[column]) for row in runs])
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
