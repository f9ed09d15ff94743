"""python -m benchmarks.training.tricks: how much time each of training's tricks saves, with it and without.

Run it on a machine without other work. Everything is timed in the training's own code, several times
over; results/tricks.csv keeps each time. What a trick does to accuracy, ablations.py measures; the table
of both is in results/training.md, which `python -m benchmarks.training.compare` writes. Needs FLOWER_DATA and
FLOWER_PRETRAINED.
"""

import argparse
import contextlib
import csv
import io
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.machine import RESULTS
from benchmarks.training.ablations import Question, changed_recipe, prepared, spread_of
from flower_model.system.memory import keep_freed_memory
from training.data import loader
from training.data.decoded import decode_photos, resize_side
from training.data.sampling import Photos
from training.data.sources import gather
from training.engine.clock import Clock
from training.engine.finetune import finetune
from training.engine.inference import compute_of, fastest_runtime, predict_photos, torch_runtime

TIMES = RESULTS / "tricks.csv"
REPEATS = 3
TRAINED = 192  # photos of a timed epoch, where nothing else is said

Seconds = Callable[[], float]


@dataclass(frozen=True)
class Trick:
    """What is timed, without the trick and with it.

    Attributes:
        what: For the table.
        unit: Of the times.
        without, with_it: Time it once.
        ablation: Names of the question and the two variants that show what it does to accuracy.
    """

    what: str
    unit: str
    without: Seconds
    with_it: Seconds
    ablation: tuple[str, str, str] | None = None


def step(*changes: str, channels_last: bool = True) -> float:
    """Milliseconds to train on a photo: the second of two short epochs."""
    return 1000 * last_epoch(*changes, channels_last=channels_last, trained=TRAINED) / TRAINED


def last_epoch(
    *changes: str,
    channels_last: bool = True,
    workers: int | None = None,
    trained: int | None = None,
) -> float:
    """Seconds of the last epoch on so many photos, or on all of them."""
    base = (
        "finetune.epochs=2",
        "finetune.freeze=0",
        "finetune.batch_norm='train'",
        "finetune.image_sizes=[128]",
        "finetune.keep='last'",
        "probe=false",
    )
    recipe = changed_recipe("flowers5", (*base, *changes), seed=0)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if workers is not None:
            stack.enter_context(mock.patch.object(loader, "worker_count", lambda _: workers))
        accelerator, photos, network = prepared(recipe)
        if not channels_last:
            network = network.to(memory_format=torch.contiguous_format)
        some = photos.train.sample(trained or len(photos.train))
        few = photos.val.sample(8)
        labels = photos.labels
        photos = Photos(labels, some, some.targets(labels), few, few.targets(labels))
        finetune(
            network,
            photos,
            recipe,
            folder,
            accelerator=accelerator,
            clock=Clock(),
            resume=False,
        )
        rows = list(csv.DictReader((folder / "metrics.csv").open(encoding="utf-8")))
    return float(rows[-1]["epoch_seconds"])


def compiled_step() -> float:
    """The same through torch.compile, as `accelerate launch --dynamo_backend inductor` has it."""
    with mock.patch.dict(os.environ, ACCELERATE_DYNAMO_BACKEND="INDUCTOR"):
        return step()


def decoding(*, again: bool) -> float:
    """Seconds until all training photos are decoded, for the first time or once more."""
    recipe = changed_recipe("flowers5", (), seed=0)
    train, _ = gather(recipe.data, Path(os.environ["FLOWER_DATA"]))
    side = resize_side(recipe.model.test_size, recipe.model.crop)
    if again:
        decode_photos(train, side, "decoding")
    started = time.monotonic()
    decode_photos(train, side, "decoding", keep=again)
    return time.monotonic() - started


def probing(*, openvino: bool) -> float:
    """Seconds until the features of all training photos are there."""
    recipe = changed_recipe("flowers5", (), seed=0)
    assert recipe.probe
    accelerator, photos, network = prepared(recipe)
    started = time.monotonic()
    runtime_of = fastest_runtime if openvino else torch_runtime
    runtime = runtime_of(network, compute_of(accelerator), recipe.probe.image_size)
    predict_photos(runtime, photos.train, title="probing")
    return time.monotonic() - started


PHOTO, SECONDS = "ms a photo", "s for all"
WHOLE = ("finetune.freeze=3", "finetune.epochs=1")  # what two processes cost, is lost as they start
TRICKS = {
    "decoded": Trick(
        "photos decoded once, kept on disk",
        SECONDS,
        partial(decoding, again=False),
        partial(decoding, again=True),
    ),
    "openvino": Trick(
        "the probe's features by OpenVINO",
        SECONDS,
        partial(probing, openvino=False),
        partial(probing, openvino=True),
    ),
    "bf16": Trick(
        "bf16",
        PHOTO,
        partial(step, "finetune.precision='fp32'"),
        step,
        ("ours", "fp32", "ours"),
    ),
    "channels_last": Trick("channels_last", PHOTO, partial(step, channels_last=False), step),
    "small": Trick(
        "128 pixels instead of 224", PHOTO, partial(step, "finetune.image_sizes=[224]"), step
    ),
    "freeze": Trick(
        "stem and two stages frozen",
        PHOTO,
        step,
        partial(step, "finetune.freeze=3"),
        ("ours", "ours", "freeze"),
    ),
    "batch_norm": Trick(
        "batch norm's statistics frozen",
        PHOTO,
        step,
        partial(step, "finetune.batch_norm='frozen'"),
        ("ours", "ours", "batch-norm"),
    ),
    "workers": Trick(
        "photos transformed between the steps, not in two more processes (one epoch)",
        SECONDS,
        partial(last_epoch, *WHOLE, workers=2),
        partial(last_epoch, *WHOLE, workers=0),
    ),
    "compile": Trick("torch.compile, its minute of compiling apart", PHOTO, step, compiled_step),
}


def main() -> None:
    """Times each trick without and with it, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tricks", nargs="*", help=f"of {', '.join(TRICKS)} (default: all)")
    chosen = parser.parse_args().tricks or list(TRICKS)
    keep_freed_memory()
    rows: list[tuple[Any, ...]] = [tuple(r.values()) for r in kept() if r["trick"] not in chosen]
    for repeat in range(REPEATS):
        for name in chosen:
            trick = TRICKS[name]
            rows.append((name, repeat, trick.without(), trick.with_it()))
            print(*rows[-1], flush=True)
            with TIMES.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("trick", "repeat", "without", "with"), *rows])


def kept() -> list[dict[str, str]]:
    """The times that were measured, a row for each trick and repeat."""
    if not TIMES.exists():
        return []
    return list(csv.DictReader(TIMES.open(encoding="utf-8")))


def table(questions: dict[str, Question]) -> list[str]:
    """Lines of Markdown: what each trick costs and gives."""
    measured = kept()
    if not measured:
        return []
    lines = [
        "| trick | without | with | faster | accuracy without | with |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, trick in TRICKS.items():
        rows: list[Any] = [row for row in measured if row["trick"] == name]
        if not rows:
            continue
        times = [np.array([float(row[column]) for row in rows]) for column in ("without", "with")]
        cells = [f"{t.mean():.1f} ± {t.std(ddof=1):.1f} {trick.unit}" for t in times]
        cells.append(f"{times[0].mean() / times[1].mean():.2f} ×")
        if trick.ablation:
            question, *variants = trick.ablation
            cells += [spread_of(questions[question], variant) for variant in variants]
        else:
            cells += ["", ""]
        lines.append(f"| {trick.what} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
