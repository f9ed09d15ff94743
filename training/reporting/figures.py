"""The pictures of a model card: training curve, confusion matrix, reliability; as PNG bytes."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

MOST_CLASSES = 20  # that a confusion matrix stays readable with


def training_curve(metrics: Path) -> bytes:
    """Loss and accuracy by epoch, from a run's metrics.csv; epoch 0 is the linear probe."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for axes, figure_of in ((losses, "loss"), (accuracies, "accuracy")):
        for split, style in (("train", "--"), ("val", "-")):
            known = [row for row in rows if row[f"{split}_{figure_of}"]]
            epochs = [int(row["epoch"]) for row in known]
            values = [float(row[f"{split}_{figure_of}"]) for row in known]
            axes.plot(epochs, values, style, marker=".", label=_SPLITS[split])
        axes.set(xlabel="epoch", ylabel=figure_of)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return _png(figure)


_SPLITS = {"train": "training photos, augmented", "val": "held-out photos"}


def confusion_picture(targets: np.ndarray, answers: np.ndarray, labels: Sequence[str]) -> bytes:
    """Which class was taken for which; of many classes, those with the most mistakes.

    Args:
        targets: (photos,) int class indices.
        answers: (photos,) int class indices that the model gave.
        labels: Class names by index.
    """
    wrong = targets != answers
    mistakes = np.bincount(np.concatenate([targets[wrong], answers[wrong]]), minlength=len(labels))
    present = np.union1d(targets, answers)
    shown = present
    if len(present) > MOST_CLASSES:
        shown = present[np.argsort(-mistakes[present], kind="stable")][:MOST_CLASSES]
        shown = np.sort(shown[mistakes[shown] > 0]) if wrong.any() else shown
    counts = confusion_matrix(targets, answers, labels=shown)
    side = 2.5 + 0.34 * len(shown)
    figure = Figure(figsize=(side + 0.7, side), layout="constrained")
    axes = figure.subplots()
    display = ConfusionMatrixDisplay(counts, display_labels=[labels[index] for index in shown])
    display.plot(ax=axes, cmap="Blues", xticks_rotation="vertical", colorbar=False)
    for text in display.text_.flat:
        if text.get_text() == "0":
            text.set_text("")
    axes.set(xlabel="answer", ylabel="label")
    if len(shown) < len(present):
        axes.set_title(f"of {len(present)} classes, the {len(shown)} with the most mistakes")
    return _png(figure)


def reliability_picture(
    before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]
) -> bytes:
    """How often answers were right against how sure they were, before and after the temperature.

    Args:
        before, after: As `training.reporting.metrics.reliability` gives them.
    """
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="exactly right")
    for bins, name, style in ((before, "before", "--"), (after, "after the temperature", "-")):
        confidence = [b["confidence"] for b in bins]
        accuracy = [b["accuracy"] for b in bins]
        (line,) = axes.plot(confidence, accuracy, style, label=name)
        # A point's area is its number of photos: those of a few photos mean little.
        area = [max(4.0, 300 * b["photos"] / sum(c["photos"] for c in bins)) for b in bins]
        axes.scatter(confidence, accuracy, area, color=line.get_color(), alpha=0.6)
    axes.set(xlabel="probability of the answer", ylabel="share of answers that were right")
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90, metadata={"Software": None})
    return buffer.getvalue()
