"""Time saved by each trick of the training code, measured with and without it.

    python -m benchmarks.training.tricks

Requires an otherwise idle machine, FLOWER_DATA and FLOWER_PRETRAINED. The code of training itself is
timed, several times; results/tricks.csv has all times. Their table is part of results/training.md,
which `python -m benchmarks.training.compare` writes, beside the accuracies of the ablations.
"""

import argparse
import contextlib
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

from benchmarks.machine import RESULTS, read_csv, write_csv
from benchmarks.training.ablations import Study, changed_recipe, prepare, spread_of
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
TRAINED = 192  # photos in a timed epoch, by default

Seconds = Callable[[], float]


@dataclass(frozen=True)
class Trick:
    """A trick and the functions that measure one time without and with it.

    Attributes:
        text: Description in the table.
        unit: Unit of the times.
        without, with_it: Measure one time.
        ablation: Names of the study and of its two variants that show the effect on accuracy.
    """

    text: str
    unit: str
    without: Seconds
    with_it: Seconds
    ablation: tuple[str, str, str] | None = None


def step(*changes: str, channels_last: bool = True) -> float:
    """Return the milliseconds per photo in the second of two short epochs."""
    return 1000 * last_epoch(*changes, channels_last=channels_last, trained=TRAINED) / TRAINED


def last_epoch(
    *changes: str,
    channels_last: bool = True,
    workers: int | None = None,
    trained: int | None = None,
) -> float:
    """Return the seconds of the last epoch, on `trained` photos or on all of them."""
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
        accelerator, photos, network = prepare(recipe)
        if not channels_last:
            network = network.to(memory_format=torch.contiguous_format)
        some = photos.train.sample(trained or len(photos.train))
        photos = Photos(photos.labels, some, photos.val.sample(8))
        finetune(
            network,
            photos,
            recipe,
            folder,
            accelerator=accelerator,
            clock=Clock(),
            resume=False,
        )
        rows = read_csv(folder / "metrics.csv")
    return float(rows[-1]["epoch_seconds"])


def compiled_step() -> float:
    """Return `step` with torch.compile, as with `accelerate launch --dynamo_backend inductor`."""
    with mock.patch.dict(os.environ, ACCELERATE_DYNAMO_BACKEND="INDUCTOR"):
        return step()


def decoding(*, again: bool) -> float:
    """Return the seconds to decode all training photos, without a cache or (`again`) from it."""
    recipe = changed_recipe("flowers5", (), seed=0)
    train, _ = gather(recipe.data, Path(os.environ["FLOWER_DATA"]))
    side = resize_side(recipe.model.test_size, recipe.model.crop)
    if again:
        decode_photos(train, side, "decoding")
    started = time.monotonic()
    decode_photos(train, side, "decoding", cache=again)
    return time.monotonic() - started


def probing(*, openvino: bool) -> float:
    """Return the seconds to compute the features of all training photos."""
    recipe = changed_recipe("flowers5", (), seed=0)
    assert recipe.probe
    accelerator, photos, network = prepare(recipe)
    started = time.monotonic()
    make_runtime = fastest_runtime if openvino else torch_runtime
    runtime = make_runtime(network, compute_of(accelerator), recipe.probe.image_size)
    predict_photos(runtime, photos.train, title="probing")
    return time.monotonic() - started


PHOTO, SECONDS = "ms per photo", "s in total"
WHOLE = ("finetune.freeze=3", "finetune.epochs=1")  # the cost of two processes is their start
TRICKS = {
    "decoded": Trick(
        "decoded-photo cache on disk",
        SECONDS,
        partial(decoding, again=False),
        partial(decoding, again=True),
    ),
    "openvino": Trick(
        "features of the probe by OpenVINO",
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
        "frozen stem and two stages",
        PHOTO,
        step,
        partial(step, "finetune.freeze=3"),
        ("ours", "ours", "freeze"),
    ),
    "batch_norm": Trick(
        "frozen batch norm statistics",
        PHOTO,
        step,
        partial(step, "finetune.batch_norm='frozen'"),
        ("ours", "ours", "batch-norm"),
    ),
    "workers": Trick(
        "photos transformed in the training process instead of two workers (one epoch)",
        SECONDS,
        partial(last_epoch, *WHOLE, workers=2),
        partial(last_epoch, *WHOLE, workers=0),
    ),
    "compile": Trick(
        "torch.compile, without its minute of compilation", PHOTO, step, compiled_step
    ),
}


def main() -> None:
    """Measure each trick without and with it, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tricks", nargs="*", help=f"of {', '.join(TRICKS)} (default: all)")
    chosen = parser.parse_args().tricks or list(TRICKS)
    keep_freed_memory()
    rows: list[tuple[Any, ...]] = [
        tuple(r.values()) for r in read_csv(TIMES) if r["trick"] not in chosen
    ]
    for repeat in range(REPEATS):
        for name in chosen:
            trick = TRICKS[name]
            rows.append((name, repeat, trick.without(), trick.with_it()))
            print(*rows[-1], flush=True)
            write_csv(TIMES, ("trick", "repeat", "without", "with"), rows)


def table(studies: dict[str, Study]) -> list[str]:
    """Return the lines of a Markdown table: time and accuracy without and with each trick."""
    measured = read_csv(TIMES)
    if not measured:
        return []
    lines = [
        "| trick | time without | with | speed-up | accuracy without | with |",
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
            study, *variants = trick.ablation
            cells += [spread_of(studies[study], variant) for variant in variants]
        else:
            cells += ["", ""]
        lines.append(f"| {trick.text} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
