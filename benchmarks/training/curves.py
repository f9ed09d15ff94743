"""Plot the validation accuracy of two or more runs by epoch and by minute.

python -m benchmarks.training.curves report=runs/report/metrics.csv flowers5=runs/flowers5/metrics.csv
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.machine import RESULTS, read_csv


def main(arguments: list[str]) -> None:
    """Read NAME=FILE pairs and write benchmarks/results/curves.png."""
    figure, (by_epoch, by_time) = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    for argument in arguments:
        name, _, file = argument.partition("=")
        rows = read_csv(Path(file))
        accuracy = [100 * float(row["val_accuracy"]) for row in rows]
        minutes = [float(row["run_seconds"]) / 60 for row in rows]
        by_epoch.plot([int(row["epoch"]) for row in rows], accuracy, marker=".", label=name)
        by_time.plot(minutes, accuracy, marker=".", label=name)
    for axes, title in ((by_epoch, "epoch (0: linear probe)"), (by_time, "minutes since start")):
        axes.axhline(80.53, color="grey", linestyle=":", label="best of the report, 80.53 %")
        axes.set_xlabel(title)
        axes.grid(alpha=0.3)
    by_epoch.set_ylabel("validation accuracy, %")
    by_epoch.legend()
    figure.tight_layout()
    figure.savefig(RESULTS / "curves.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1:])
