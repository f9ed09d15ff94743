"""Figures of the model card as PNG: training curve, confusion matrix, reliability diagram."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from training.reporting.label_text import figure_labels

SPLITS = {"train": "training photos (augmented)", "val": "held-out photos"}
MAX_CLASSES = 20  # in a confusion matrix; more are not legible


def plot_training_curve(metrics: Path) -> bytes:
    """Plot loss and accuracy per epoch from a run's metrics.csv; epoch 0 is the linear probe."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for axes, metric in ((losses, "loss"), (accuracies, "accuracy")):
        for split, style in (("train", "--"), ("val", "-")):
            logged = [row for row in rows if row[f"{split}_{metric}"]]
            epochs = [int(row["epoch"]) for row in logged]
            values = [float(row[f"{split}_{metric}"]) for row in logged]
            axes.plot(epochs, values, style, marker=".", label=SPLITS[split])
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return _png(figure)


def plot_confusion_matrix(
    targets: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> bytes:
    """Plot the confusion matrix, reduced to the classes with the most errors if there are many.

    Both arrays are class indices (photos,) int: indices in `labels`.
    """
    wrong = targets != predicted
    errors = np.bincount(np.concatenate([targets[wrong], predicted[wrong]]), minlength=len(labels))
    present = np.union1d(targets, predicted)
    shown = present
    if len(present) > MAX_CLASSES:
        shown = present[np.argsort(-errors[present], kind="stable")][:MAX_CLASSES]
        shown = np.sort(shown[errors[shown] > 0]) if wrong.any() else shown
    counts = confusion_matrix(targets, predicted, labels=shown)
    side = 2.5 + 0.34 * len(shown)
    figure = Figure(figsize=(side + 0.7, side), layout="constrained")
    axes = figure.subplots()
    drawn = figure_labels([labels[index] for index in shown], shown)
    display = ConfusionMatrixDisplay(counts, display_labels=[label.text for label in drawn])
    display.plot(ax=axes, cmap="Blues", xticks_rotation="vertical", colorbar=False)
    for text in display.text_.flat:
        if text.get_text() == "0":
            text.set_text("")
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for tick, label in zip(ticks, drawn, strict=True):
            tick.set_parse_math(False)  # $…$ is not a formula
            tick.set_fontproperties(FontProperties(fname=label.font, size=tick.get_fontsize()))
    axes.set(xlabel="predicted", ylabel="label")
    title = []
    if len(shown) < len(present):
        title.append(f"the {len(shown)} of {len(present)} classes with the most errors")
    if any(label.text != labels[index] for label, index in zip(drawn, shown, strict=True)):
        title.append("#n: label n in config.json, from 0")
    axes.set_title("\n".join(title), fontsize="medium")
    return _png(figure)


def plot_reliability(
    before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]] | None
) -> bytes:
    """Plot a reliability diagram: accuracy against confidence, before and after temperature scaling.

    The points are from `training.reporting.metrics.reliability`; `after` is None if no temperature was fitted.
    """
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfectly calibrated")
    curves = [(before, "before temperature scaling", "--")]
    curves += [(after, "after temperature scaling", "-")] if after is not None else []
    for bins, name, style in curves:
        confidence = [b["confidence"] for b in bins]
        accuracy = [b["accuracy"] for b in bins]
        (line,) = axes.plot(confidence, accuracy, style, label=name)
        # The area of a point shows its number of photos: points of few photos are unreliable.
        area = [max(4.0, 300 * b["photos"] / sum(c["photos"] for c in bins)) for b in bins]
        axes.scatter(confidence, accuracy, area, color=line.get_color(), alpha=0.6)
    axes.set(xlabel="confidence", ylabel="accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90, metadata={"Software": None})
    return buffer.getvalue()
