"""Photos to review after a run: the largest errors, the least certain, and suspected label errors.

The files contain or name photos, so they stay in the run's folder and are never published.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from PIL import Image, ImageDraw, ImageFont, ImageOps
from sklearn.model_selection import StratifiedKFold

from flower_model.confidence import probabilities
from flower_model.system.files import atomic_path
from training.data.decoded import DecodedPhotos
from training.data.sampling import Photos
from training.engine.linear_probe import fit_head, load_features
from training.recipe import Recipe
from training.reporting.failure import report_failure
from training.reporting.label_text import FONT_FILE, FigureLabel, figure_labels

SHOWN = 48  # photos on a contact sheet
COLUMNS = 8
TILE = 150  # pixels
CAPTION_LENGTH = 26  # characters
FOLDS = 5
Caption = tuple[str, FigureLabel, str]  # the label, with text before and after it
SUSPECTS = ["file", "label", "suggested_label", "suggested_probability", "label_probability"]


def review(run: Path, photos: Photos, probs: np.ndarray, recipe: Recipe) -> None:
    """Write worst.jpg, doubtful.jpg and suspects.csv to a run's folder, and print their paths.

    `probs` are the finished model's probabilities (held-out photos, classes).
    """
    with report_failure("The contact sheets"):
        write_contact_sheets(run, photos.val, probs, photos.labels)
    sets = [(photos.val, probs)]
    features = load_features(run)
    has_folds = np.count_nonzero(np.bincount(photos.train_targets) >= 2) >= 2
    if recipe.probe and features is not None and has_folds:
        train_probs = cross_validated_probabilities(
            features, photos.train_targets, l2=recipe.probe.l2, balance=recipe.data.balance
        )
        sets.append((photos.train, train_probs))
    count = write_suspects(run, sets, photos.labels)
    drawn = zip(figure_labels(photos.labels), photos.labels, strict=True)
    if numbered := ", ".join(f"{d.text} {label}" for d, label in drawn if d.text != label):
        print(f"Class names that no font here can render are numbered in the figures: {numbered}.")
    print(
        f"For review: {run / 'worst.jpg'}, {run / 'doubtful.jpg'} and {run / 'suspects.csv'} "
        f"({count} suspected label errors)."
    )


def write_contact_sheets(
    run: Path, photos: DecodedPhotos, probs: np.ndarray, labels: Sequence[str]
) -> None:
    """Write worst.jpg, the least probable labels, and doubtful.jpg, the closest decisions.

    The photos are labelled and held out, with the finished model's probabilities (photos, classes).
    """
    targets, names = photos.targets(labels), figure_labels(labels)
    label_probs = probs[np.arange(len(probs)), targets]
    second, first = np.sort(probs, axis=1)[:, -2:].T
    orders = {"worst": np.argsort(label_probs), "doubtful": np.argsort(first - second)}
    for name, order in orders.items():
        tiles = [
            (
                photos.image(index),
                ("", names[probs[index].argmax()], f" {100 * first[index]:.0f} %"),
                ("label: ", names[targets[index]], f" {100 * label_probs[index]:.0f} %"),
            )
            for index in order[:SHOWN]
        ]
        with atomic_path(run / f"{name}.jpg") as temporary:
            _sheet(tiles).save(temporary, "JPEG", quality=85)


def write_suspects(
    run: Path, sets: Iterable[tuple[DecodedPhotos, np.ndarray]], labels: Sequence[str]
) -> int:
    """Write suspects.csv: photos that probably have a wrong label, the most suspect first.

    Confident learning (Northcutt et al. 2021): a photo is suspected if the probability of another
    class is as high as the average over the photos of that class. The probabilities (photos, classes) of
    each set are from a model that was not trained on it; see `cross_validated_probabilities`.

    Returns:
        The number of suspected photos.
    """
    rows = []
    for photos, probs in sets:
        targets = photos.targets(labels)
        for index in find_label_issues(
            targets, probs, return_indices_ranked_by="self_confidence", n_jobs=1
        ):
            best, label = probs[index].argmax(), targets[index]
            values = (probs[index, best], probs[index, label])
            rows.append([photos.photos[index].path, labels[label], labels[best], *values])
    rows.sort(key=lambda row: row[-1])
    with (
        atomic_path(run / "suspects.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(SUSPECTS)
        writer.writerows([*row[:3], *(f"{value:.3f}" for value in row[3:])] for row in rows)
    return len(rows)


def cross_validated_probabilities(
    features: np.ndarray, targets: np.ndarray, *, l2: float, balance: float
) -> np.ndarray:
    """Return class probabilities from linear probes, each photo's from one fitted without it.

    Args:
        features: (photos, channels) from a network that was not trained on these photos.
        targets: (photos,) int class indices; at least two classes have two photos.
        l2, balance: As for `training.engine.linear_probe.fit_head`.

    Returns:
        (photos, classes) float64; 0 for a class that is missing from the other folds.
    """
    probs = np.zeros((len(targets), targets.max() + 1))
    folds = min(FOLDS, max(2, int(np.bincount(targets).min())))
    for fit, unseen in StratifiedKFold(folds, shuffle=True, random_state=0).split(
        features, targets
    ):
        present, compact = np.unique(targets[fit], return_inverse=True)
        weight, bias = fit_head(features[fit], compact, l2=l2, balance=balance)
        probs[np.ix_(unseen, present)] = probabilities(features[unseen] @ weight.T + bias, 1.0)
    return probs


def _sheet(tiles: Sequence[tuple[Image.Image, Caption, Caption]]) -> Image.Image:
    height = TILE + 30
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, *captions) in enumerate(tiles):
        left, top = number % COLUMNS * TILE, number // COLUMNS * height
        sheet.paste(ImageOps.fit(picture, (TILE - 4, TILE - 4)), (left, top))
        for line, caption in enumerate(captions):
            _write_caption(pen, left, top + TILE - 3 + 14 * line, caption)
    return sheet


def _write_caption(pen: ImageDraw.ImageDraw, left: float, top: int, caption: Caption) -> None:
    """Draw a line of a tile, the label in its own font and cut to fit."""
    before, label, after = caption
    parts = [
        (before, FONT_FILE),
        (label.text[: CAPTION_LENGTH - len(before) - len(after)], label.font),
        (after, FONT_FILE),
    ]
    for text, path in parts:
        font = ImageFont.truetype(path, 10)
        pen.text((left, top), text, "black", font)
        left += font.getlength(text)
