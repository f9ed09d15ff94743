"""python -m benchmarks.training.compare: five classes, by us and by what people would use instead.

Same photos, same starting weights, same machine, one after the other: accuracy on the validation
photos against seconds since the process started. Each way is stopped after --minutes. What a way
gave is kept in results/training/, so that ways can be run at different times; the table and the
plot in results/ are drawn from all that are there, with what tricks.py found below. Needs
FLOWER_DATA and FLOWER_PRETRAINED.
"""

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from benchmarks.machine import RESULTS, ROOT, machine
from benchmarks.training import tricks
from benchmarks.training.ablations import QUESTIONS

WAYS = {
    "ours": "ours: `python -m training.train flowers5`",
    "ours-1": "the same, `--set seed=1`",
    "ours-2": "the same, `--set seed=2`",
    "student": "the report's script as a student would write it",
    "timm": "timm's training script, its defaults for 10 epochs",
    "trainer": "Hugging Face Trainer, its example's settings",
    "fastai": "fastai, `fine_tune(5)`",
}
Points = list[tuple[float, float]]  # (seconds, accuracy) after every epoch
BARS = (0.8053, 0.90, 0.925)  # the report's best, and what to reach


def main() -> None:
    """Runs the ways that were asked for, then writes training.md and training.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="*", help=f"of {', '.join(WAYS)} (default: none, draw only)")
    parser.add_argument("--minutes", type=float, default=40, help="of each way, at most")
    options = parser.parse_args()
    kept = RESULTS / "training"
    kept.mkdir(parents=True, exist_ok=True)
    for way in options.ways:
        points, ended = run(way, 60 * options.minutes)
        with (kept / f"{way}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("seconds", "accuracy"), *points, (ended, "")])
        print(way, points, flush=True)
    curves = {way: _read(kept / f"{way}.csv") for way in WAYS if (kept / f"{way}.csv").exists()}
    (RESULTS / "training.md").write_text(_table(curves), encoding="utf-8")
    _draw(curves)


def run(way: str, limit: float) -> tuple[Points, float]:
    """What a way gave within `limit` seconds, and after how many it had ended or was stopped."""
    data, pretrained = (Path(os.environ[name]) for name in ("FLOWER_DATA", "FLOWER_PRETRAINED"))
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "benchmarks.training.peers", way, str(data / "flowers5"), str(pretrained)]
        name, _, seed = way.partition("-")
        if name == "ours":
            command = ["-m", "training.train", "flowers5", "--out", f"{folder}/run"]
            command += ["--pretrained", str(pretrained), "--set", f"seed={seed or 0}"]
        # No photo is decoded beforehand: the first run on a machine is what is timed.
        environment = os.environ | {"HF_ASSETS_CACHE": folder}
        started = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                timeout=limit,
                text=True,
                check=True,
            )
            printed = done.stdout
        except subprocess.TimeoutExpired as stopped:
            printed = (stopped.stdout or b"").decode()
        ended = time.monotonic() - started
        if name == "ours":
            rows = csv.DictReader((Path(folder) / "run" / "metrics.csv").open(encoding="utf-8"))
            points = [(float(row["run_seconds"]), float(row["val_accuracy"])) for row in rows]
            return points, ended
        pairs = re.findall(r"^([\d.]+),([\d.]+)$", printed, re.MULTILINE)
        return [(float(seconds), float(accuracy)) for seconds, accuracy in pairs], ended


def _read(path: Path) -> tuple[Points, float]:
    *rows, last = csv.DictReader(path.open(encoding="utf-8"))
    points = [(float(row["seconds"]), float(row["accuracy"])) for row in rows]
    return points, float(last["seconds"])


def _table(curves: dict[str, tuple[Points, float]]) -> str:
    bars = " | ".join(f"to {100 * bar:.2f} %" for bar in BARS)
    lines = [
        "# Training",
        "",
        f"Made by `python -m benchmarks.training.compare {' '.join(curves)}` on {machine()}.",
        "Seconds since the process started, measured at the ends of epochs; seed 0 where none is named.",
        "The validation photos also chose each way's best epoch. Ways that were stopped would go on to",
        "better figures: the last column says how many epochs they had time for.",
        "",
        f"| way | {bars} | best | at | epochs |",
        "| --- |" + " ---: |" * (len(BARS) + 3),
    ]
    for way, (points, ended) in curves.items():
        reached = [next((s for s, accuracy in points if accuracy >= bar), None) for bar in BARS]
        cells = [f"{s:.0f} s" if s else f"not in {ended:.0f} s" for s in reached]
        at, best = max(points, key=lambda point: point[1])
        cells += [f"{100 * best:.2f} %", f"{at:.0f} s", str(len(points) - way.startswith("ours"))]
        lines.append(f"| {WAYS[way]} | {' | '.join(cells)} |")
    lines += ["", "![Accuracy against seconds](training.png)", *_tricks()]
    return "\n".join(lines) + "\n"


def _tricks() -> list[str]:
    table = tricks.table(QUESTIONS)
    if not table:
        return []
    return [
        "",
        "## Each trick on its own",
        "",
        f"Times by `python -m benchmarks.training.tricks`, {tricks.REPEATS} of each: of a training step with 32",
        "photos of 128 pixels and nothing frozen, unless the row says otherwise. Accuracy on the 383",
        "photos after two epochs at 96 pixels, from [ablations.md](ablations.md).",
        "Mean ± standard deviation.",
        "",
        *table,
        "",
        "What gains nothing here is off, but for two: channels_last is what GPUs and AMX want, and",
        "OpenVINO answers faster at the size of the test ([inference.md](inference.md)), where it calibrates.",
    ]


def _draw(curves: dict[str, tuple[Points, float]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for way, (points, _) in curves.items():
        seconds, accuracy = zip(*points, strict=True)
        axes.plot(seconds, [100 * a for a in accuracy], marker=".", label=way)
    axes.axhline(80.53, color="grey", linestyle=":", label="the report's best, 80.53 %")
    axes.set(xscale="log", xlabel="seconds since start", ylabel="validation accuracy, %")
    axes.xaxis.set_major_locator(FixedLocator([15, 30, 60, 120, 300, 600, 1200, 2400]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(RESULTS / "training.png", dpi=110)


if __name__ == "__main__":
    main()
