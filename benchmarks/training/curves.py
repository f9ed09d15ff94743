"""Draws validation accuracy against epochs and minutes for two or more runs' metrics.csv.

python -m benchmarks.training.curves report=runs/report/metrics.csv flowers5=runs/flowers5/metrics.csv
"""

import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.machine import RESULTS


def main(arguments: list[str]) -> None:
    """Reads NAME=FILE pairs, writes results/curves.png."""
    figure, (by_epoch, by_time) = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    for argument in arguments:
        name, _, file = argument.partition("=")
        rows = list(csv.DictReader(Path(file).read_text(encoding="utf-8").splitlines()))
        accuracy = [100 * float(row["val_accuracy"]) for row in rows]
        minutes = [float(row["run_seconds"]) / 60 for row in rows]
        by_epoch.plot([int(row["epoch"]) for row in rows], accuracy, marker=".", label=name)
        by_time.plot(minutes, accuracy, marker=".", label=name)
    for axes, title in ((by_epoch, "epoch (0: linear probe)"), (by_time, "minutes since start")):
        axes.axhline(80.53, color="grey", linestyle=":", label="the report's best, 80.53 %")
        axes.set_xlabel(title)
        axes.grid(alpha=0.3)
    by_epoch.set_ylabel("validation accuracy, %")
    by_epoch.legend()
    figure.tight_layout()
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "curves.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1:])
