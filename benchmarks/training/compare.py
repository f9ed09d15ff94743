"""Training of the five classes by this package and by other tools: accuracy against time.

    python -m benchmarks.training.compare ours student timm trainer fastai

All start from the same weights, use the same photos and run one after the other on the same machine.
Accuracy is measured on the validation photos, time from the start of the process, and each tool is
stopped after --minutes. Results are stored in results/training/, so that the tools can be run at
different times; results/training.md and training.png are made from all of them, with the table of
benchmarks.training.tricks. Requires FLOWER_DATA and FLOWER_PRETRAINED.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from benchmarks.machine import RESULTS, ROOT, describe_machine, read_csv, write_csv
from benchmarks.training import tricks
from benchmarks.training.ablations import STUDIES

TOOLS = {
    "ours": "ours: `python -m training.train flowers5`",
    "ours-1": "the same, `--set seed=1`",
    "ours-2": "the same, `--set seed=2`",
    "student": "the report's script, after PyTorch's tutorial",
    "timm": "timm's training script, defaults, 10 epochs",
    "trainer": "Hugging Face Trainer, settings of its example",
    "fastai": "fastai, `fine_tune(5)`",
}
Points = list[tuple[float, float]]  # (seconds, accuracy) after every epoch
TARGETS = (0.8053, 0.90, 0.925)  # accuracy; the first is the best of the report


def main() -> None:
    """Run the selected tools, then write training.md and training.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tools", nargs="*", help=f"of {', '.join(TOOLS)} (default: none, only plot)"
    )
    parser.add_argument("--minutes", type=float, default=40, help="limit for each tool")
    options = parser.parse_args()
    folder = RESULTS / "training"
    folder.mkdir(parents=True, exist_ok=True)
    for tool in options.tools:
        points, ended = run(tool, 60 * options.minutes)
        write_csv(folder / f"{tool}.csv", ("seconds", "accuracy"), [*points, (ended, "")])
        print(tool, points, flush=True)
    files = {tool: folder / f"{tool}.csv" for tool in TOOLS}
    curves = {tool: _read(file) for tool, file in files.items() if file.exists()}
    (RESULTS / "training.md").write_text(_table(curves), encoding="utf-8")
    _draw(curves)


def run(tool: str, limit: float) -> tuple[Points, float]:
    """Run a tool for at most `limit` seconds; return its points and the seconds until it ended."""
    data, pretrained = (Path(os.environ[name]) for name in ("FLOWER_DATA", "FLOWER_PRETRAINED"))
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "benchmarks.training.peers", tool, str(data / "flowers5"), str(pretrained)]
        name, _, seed = tool.partition("-")
        if name == "ours":
            command = ["-m", "training.train", "flowers5", "--out", f"{folder}/run"]
            command += ["--pretrained", str(pretrained), "--set", f"seed={seed or 0}"]
        # An empty cache: the first run on a machine is timed, including the decoding.
        environment = os.environ | {"HF_ASSETS_CACHE": folder}
        started = time.monotonic()
        try:
            completed = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                timeout=limit,
                text=True,
                check=True,
            )
            printed = completed.stdout
        except subprocess.TimeoutExpired as timeout:
            printed = (timeout.stdout or b"").decode()
        ended = time.monotonic() - started
        if name == "ours":
            rows = read_csv(Path(folder) / "run" / "metrics.csv")
            points = [(float(row["run_seconds"]), float(row["val_accuracy"])) for row in rows]
            return points, ended
        pairs = re.findall(r"^([\d.]+),([\d.]+)$", printed, re.MULTILINE)
        return [(float(seconds), float(accuracy)) for seconds, accuracy in pairs], ended


def _read(path: Path) -> tuple[Points, float]:
    *rows, last = read_csv(path)
    points = [(float(row["seconds"]), float(row["accuracy"])) for row in rows]
    return points, float(last["seconds"])


def _table(curves: dict[str, tuple[Points, float]]) -> str:
    targets = " | ".join(f"to {100 * target:.2f} %" for target in TARGETS)
    lines = [
        "# Training",
        "",
        f"Made by `python -m benchmarks.training.compare {' '.join(curves)}` on {describe_machine()}.",
        "Time is measured from the start of the process at the ends of epochs; the seed is 0 unless stated.",
        "The best epoch is chosen on the same validation photos. Tools that were stopped at their time",
        "limit would improve with more time: the last column is the number of epochs they completed.",
        "",
        f"| tool | {targets} | best | after | epochs |",
        "| --- |" + " ---: |" * (len(TARGETS) + 3),
    ]
    for tool, (points, ended) in curves.items():
        reached = [
            next((s for s, accuracy in points if accuracy >= target), None) for target in TARGETS
        ]
        cells = [f"{s:.0f} s" if s else f"not in {ended:.0f} s" for s in reached]
        at, best = max(points, key=lambda point: point[1])
        cells += [f"{100 * best:.2f} %", f"{at:.0f} s", str(len(points) - tool.startswith("ours"))]
        lines.append(f"| {TOOLS[tool]} | {' | '.join(cells)} |")
    lines += ["", "![Accuracy against seconds](training.png)", *_tricks()]
    return "\n".join(lines) + "\n"


def _tricks() -> list[str]:
    table = tricks.table(STUDIES)
    if not table:
        return []
    return [
        "",
        "## Gain of each trick",
        "",
        f"Times from `python -m benchmarks.training.tricks`, mean ± standard deviation of {tricks.REPEATS} repeats: of a",
        "training step with 32 photos of 128 pixels and without frozen layers, unless the row says",
        "otherwise. Accuracy on the 383 photos after two epochs at 96 pixels, from",
        "[ablations.md](ablations.md).",
        "",
        *table,
        "",
        "Tricks without a gain here are off by default, with two exceptions: GPUs and AMX are faster with",
        "channels_last, and OpenVINO is faster at the test size ([avx512-bf16.md](inference/avx512-bf16.md)).",
    ]


def _draw(curves: dict[str, tuple[Points, float]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for tool, (points, _) in curves.items():
        seconds, accuracy = zip(*points, strict=True)
        axes.plot(seconds, [100 * a for a in accuracy], marker=".", label=tool)
    axes.axhline(80.53, color="grey", linestyle=":", label="best of the report, 80.53 %")
    axes.set(xscale="log", xlabel="seconds since start", ylabel="validation accuracy, %")
    axes.xaxis.set_major_locator(FixedLocator([15, 30, 60, 120, 300, 600, 1200, 2400]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(RESULTS / "training.png", dpi=110)


if __name__ == "__main__":
    main()
