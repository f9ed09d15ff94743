"""python -m benchmarks.training.styles: accuracy on a photo style that a class was never trained in.

Daisies, dandelions, roses and sunflowers are in Oxford 102 (close-ups) and in flowers5 (gardens, many small
flowers). Leaving the flowers5 photos of two of them out of training makes these their test set: the network has seen
the style, and the flowers, but never together. Needs FLOWER_DATA and FLOWER_PRETRAINED, and a GPU to end in minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from training.recipe import merge

LEFT_OUT = {"a": ("daisy", "rose"), "b": ("dandelion", "sunflower")}
SNAPSHOTS = {"degrade": 0.5, "zoom_out": 0.25, "tile": 0.15}
STRONG = {"zoom_out": 0.4, "tile": 0.2, "min_crop": 0.1, "random_erasing": 0.2}
POLICY = {"rand_augment": "rand-m7-n2-mstd0.5"}
NEGATIVES = {"negatives": ["not-flowers"], "negative_fraction": 0.12}
FULL = {"data": NEGATIVES, "finetune": {**SNAPSHOTS, **STRONG, **POLICY}}
LAYER_DECAY = {"finetune": {"layer_decay": 0.7}}  # instead of 0.85
VARIANTS: dict[str, dict[str, Any]] = {
    "flowers103": {},
    "+ degraded": {"finetune": {"degrade": 0.5}},
    "+ zoomed out, tiled": {"finetune": SNAPSHOTS},
    "+ negatives": {"data": NEGATIVES, "finetune": SNAPSHOTS},
    "+ stronger (flowers103-snapshots)": FULL,
    "+ linear probe": merge(FULL, {"probe": {"image_size": 144}}),
    "+ layer decay": merge(FULL, LAYER_DECAY),
    "+ linear probe, layer decay": merge(FULL, {**LAYER_DECAY, "probe": {"image_size": 144}}),
}


def main() -> None:
    """Train every variant on both splits and print the rows of benchmarks/results/styles.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.styles")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--parallel", type=int, default=1, help="runs at the same time")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_data_root(root, Path(os.environ["FLOWER_DATA"]))
        jobs = [(name, split) for name in options.variants for split in LEFT_OUT]
        with ThreadPoolExecutor(options.parallel) as pool:
            rows = list(pool.map(lambda job: run(*job, root, options.epochs), jobs))
    table = [f"| {' | '.join(row)} |" for row in rows]
    print("\n".join(table))


def make_data_root(root: Path, data: Path) -> None:
    """Link the photos into `root`: for each split a training folder, and a test folder of what it lacks."""
    for name in ("flowers-102", "not-flowers"):
        (root / name).symlink_to(data / name)
    for split, left_out in LEFT_OUT.items():
        for photo in sorted((data / "flowers5").glob("*/*/*")):
            label = photo.parent.name
            part = f"{split}-test" if label in left_out else f"{split}/{photo.parent.parent.name}"
            link = root / part / label / f"{photo.parent.parent.name}-{photo.name}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(photo)


def run(name: str, split: str, root: Path, epochs: int) -> list[str]:
    """Train a variant without the photos of a split; return a row of the results table."""
    settings = {
        "probe": False,
        "data": {
            "train": ["flowers102:train", f"{split}:train"],
            "val": ["flowers102:val"],
            "test": [f"{split}-test"],
            "calibrate": [],
        },
        "model": {"test_size": 192},
        "finetune": {
            "epochs": epochs,
            "batch_size": 64,
            "image_sizes": [128, 160, 192],
            "lr": 1.4e-3,
        },
    }
    out = root / f"run-{list(VARIANTS).index(name)}-{split}"
    command = [sys.executable, "-m", "training.train", "flowers103", "--data-root", str(root)]
    command += ["--out", str(out)]
    for key, value in flatten(merge(settings, VARIANTS[name])):
        command += ["--set", f"{key}={json.dumps(value)}"]
    subprocess.run(command, cwd=ROOT, check=True)
    config = json.loads((out / "model" / "config.json").read_text("utf-8"))["flower_model"]
    test, oxford = config["tests"][f"{split}-test"], config["metrics"]
    percentages = [test["top1"], test["calibration_error"], oxford["top1"]]
    return [name, " and ".join(LEFT_OUT[split]), *(f"{100 * value:.1f}" for value in percentages)]


def flatten(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested settings as (dotted key, value) pairs."""
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        pairs += (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else [(prefix + key, value)]
        )
    return pairs


if __name__ == "__main__":
    main()
