"""python -m benchmarks.training.ablations: what each choice in a recipe is worth, one changed at a time.

Three questions: why the report stalled, which of its own proposals would have helped it, and what
our recipe's parts bring. Every variant trains on the five classes for the same number of epochs, on
small photos so that two cores can do them all, with several seeds. What was run is kept in
results/ablations.csv and not run again; results/ablations.md is written from it. Needs FLOWER_DATA and
FLOWER_PRETRAINED.
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

from benchmarks.machine import RESULTS
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

KEPT = RESULTS / "ablations.csv"
SEEDS = (0, 1, 2)
STEPS = 62  # of an epoch: 2,014 photos in batches of 32


@dataclass(frozen=True)
class Variant:
    """A recipe with some settings changed.

    Attributes:
        what: For the table.
        changes: As `--set` takes them.
    """

    what: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A table: its first variant is what the others are compared with.

    Attributes:
        title: Of the table.
        recipe: That all variants change.
        common: Changes that all of them share: the budget.
        variants: Short name -> variant.
    """

    title: str
    recipe: str
    common: tuple[str, ...]
    variants: dict[str, Variant]


SMALL = ("model.test_size=96", "finetune.precision='bf16'", "finetune.image_sizes=[96]")
# Two epochs, the second at a tenth of the rate, for the report's 25 with a cut after every seventh.
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

QUESTIONS = {
    "stall": Question(
        "Why the report stalled",
        "report",
        REPORT,
        {
            "report": Variant("the report's recipe: all layers at 1e-3"),
            "low-rate": Variant("all layers at 1e-4", ("finetune.lr=1e-4",)),
            "batch-norm": Variant(
                "all layers at 1e-3, batch norm's statistics frozen",
                ("finetune.batch_norm='frozen'",),
            ),
            "each-batch": Variant("all layers, the rate cut every 7th batch", (EACH_BATCH,)),
            "head": Variant("only the new head at 1e-3", (HEAD_ONLY,)),
            "head-each-batch": Variant(
                "only the new head, the rate cut every 7th batch", (HEAD_ONLY, EACH_BATCH)
            ),
        },
    ),
    "proposals": Question(
        "What the report proposed",
        "report",
        REPORT,
        {
            "stalled": Variant(
                "only the head, the rate cut every 7th batch", (HEAD_ONLY, EACH_BATCH)
            ),
            "stalled-augmented": Variant(
                "… with random crops and colours", (HEAD_ONLY, EACH_BATCH, *AUGMENTED)
            ),
            "stalled-stage": Variant(
                "… with the last stage unfrozen too", ("finetune.freeze=4", EACH_BATCH)
            ),
            "head": Variant("only the head, the rate cut as intended", (HEAD_ONLY,)),
            "head-augmented": Variant("… with random crops and colours", (HEAD_ONLY, *AUGMENTED)),
            "stage": Variant("… with the last stage unfrozen too", ("finetune.freeze=4",)),
            "low-rate": Variant("… with all layers unfrozen, at 1e-4", ("finetune.lr=1e-4",)),
            "low-rate-augmented": Variant(
                "… all layers at 1e-4, random crops and colours", ("finetune.lr=1e-4", *AUGMENTED)
            ),
            "low-rate-deeper": Variant(
                "… all layers at 1e-4 of a deeper network",
                ("finetune.lr=1e-4", "model.architecture='resnet101'"),
            ),
        },
    ),
    "ours": Question(
        "What our recipe's parts bring",
        "flowers5",
        OURS,
        {
            "ours": Variant("ours, 2 epochs at 96 pixels"),
            "progressive": Variant("80, then 112 pixels", ("finetune.image_sizes=[80, 112]",)),
            "freeze": Variant("stem and two stages frozen", ("finetune.freeze=3",)),
            "batch-norm": Variant(
                "batch norm's statistics frozen", ("finetune.batch_norm='frozen'",)
            ),
            "fp32": Variant("in fp32", ("finetune.precision='fp32'",)),
            "no-probe": Variant("a fresh head instead of the probe's", ("probe=false",)),
        },
    ),
}


def main() -> None:
    """Runs what is missing, then writes ablations.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", nargs="*", help=f"of {', '.join(QUESTIONS)} (default: none)")
    options = parser.parse_args()
    keep_freed_memory()
    for seed in SEEDS:  # a first answer early, its spread later
        for name in options.questions:
            question = QUESTIONS[name]
            for variant in question.variants.values():
                _run_once(question, variant, seed)
    (RESULTS / "ablations.md").write_text(_page(_kept()), encoding="utf-8")


def _key(question: Question, variant: Variant) -> str:
    """Equal for variants that are the same run, whatever the question."""
    return json.dumps([question.recipe, *question.common, *variant.changes])


def _run_once(question: Question, variant: Variant, seed: int) -> None:
    key = _key(question, variant)
    if any(row["run"] == key and row["seed"] == str(seed) for row in _kept()):
        return
    rows = run(question.recipe, (*question.common, *variant.changes), seed)
    best = max(float(row["val_accuracy"]) for row in rows)
    new = not KEPT.exists()
    with KEPT.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["run", "seed", "first", "last", "best", "train"])
        trained = [row for row in rows if row["epoch"] != "0"]
        first, last = trained[0], trained[-1]
        figures = (first["val_accuracy"], last["val_accuracy"], best, last["train_accuracy"])
        writer.writerow([key, seed, *figures])
    print(variant.what, seed, *figures, flush=True)


def run(recipe_name: str, changes: tuple[str, ...], seed: int) -> list[dict[str, str]]:
    """The rows of metrics.csv of a recipe with changes, as `training.train` would write them."""
    recipe = changed_recipe(recipe_name, changes, seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        if recipe.model.architecture == "resnet101":
            deeper = deepened(recipe.model.pretrained, Path(folder) / "deeper")
            model = recipe.model.model_copy(update={"pretrained": str(deeper)})
            recipe = recipe.model_copy(update={"model": model})
        accelerator, photos, network = prepared(recipe)
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
        return list(csv.DictReader((Path(folder) / "metrics.csv").open(encoding="utf-8")))


def changed_recipe(name: str, changes: tuple[str, ...], seed: int) -> Recipe:
    """A recipe on the starting weights that all share, with changes as `--set` takes them."""
    wanted: dict[str, Any] = {"seed": seed}
    for text in (*changes, f"model.pretrained='{os.environ['FLOWER_PRETRAINED']}'"):
        wanted = merge(wanted, parse_change(text))
    return load_recipe(name, wanted)


def prepared(recipe: Recipe) -> tuple[Accelerator, Photos, nn.Module]:
    """All that `finetune` takes, as `training.train` makes it."""
    AcceleratorState._reset_state()  # a process has one precision, and here one after the other
    accelerator = prepare_accelerator(recipe)
    side = resize_side(recipe.model.test_size, recipe.model.crop)
    photos = load_photos(recipe.data, Path(os.environ["FLOWER_DATA"]), side)
    torch.manual_seed(recipe.seed)
    network = create_network(recipe.model, len(photos.labels))
    network = network.to(memory_format=torch.channels_last).to(accelerator.device)
    return accelerator, photos, network


def deepened(pretrained: str, folder: Path) -> Path:
    """A ResNet-101 that computes what a ResNet-50 does, as a weights folder (Chen et al. 2016, Net2Net).

    The blocks that the smaller one lacks begin as the identity: their last batch norm multiplies by 0.
    Stands in for pretrained weights of the deeper network.
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


def _kept() -> list[dict[str, str]]:
    if not KEPT.exists():
        return []
    return list(csv.DictReader(KEPT.open(encoding="utf-8")))


def _page(rows: list[dict[str, str]]) -> str:
    lines = [
        "# Ablations",
        "",
        f"Made by `python -m benchmarks.training.ablations {' '.join(QUESTIONS)}`. Five classes, 2,014 photos",
        "to train on, accuracy on the 383 held-out ones in %, mean ± standard deviation over seeds;",
        "the same held-out photos for all, so the spread is of the training alone. One change at a time,",
        "the same number of epochs for all.",
    ]
    for question in QUESTIONS.values():
        lines += ["", f"## {question.title}", "", f"`{question.recipe}` with"]
        lines[-1] += f" `{' '.join(question.common)}`."
        lines += ["", "| | after the first epoch | after the last | training photos | seeds |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        for variant in question.variants.values():
            runs = _runs_of(question, variant, rows)
            if runs:
                cells = [_spread(runs, column) for column in ("first", "last", "train")]
                lines.append(f"| {variant.what} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines) + "\n"


def spread_of(question: Question, variant: str) -> str:
    """Accuracy after a variant's last epoch, for a table; empty if it was not run."""
    runs = _runs_of(question, question.variants[variant], _kept())
    return f"{_spread(runs, 'last')} %" if runs else ""


def _runs_of(
    question: Question, variant: Variant, rows: list[dict[str, str]]
) -> list[dict[str, str]]:
    return [row for row in rows if row["run"] == _key(question, variant)]


def _spread(runs: list[dict[str, str]], column: str) -> str:
    values = 100 * np.array([float(row[column]) for row in runs])
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
