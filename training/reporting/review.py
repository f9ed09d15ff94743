"""What a person should look at after a run: the worst photos, the most doubtful, suspected labels.

All of it holds or names photos, so it stays in the run's folder and is never published.
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

SHOWN = 48  # photos of a contact sheet
COLUMNS = 8
TILE = 150  # pixels
FOLDS = 5
SUSPECTS = ["file", "filed_under", "rather", "probability", "probability_of_label"]


def review(run: Path, photos: Photos, probs: np.ndarray, recipe: Recipe) -> None:
    """Writes worst.jpg, doubtful.jpg and suspects.csv into a run's folder, and says so.

    Args:
        run: The run's folder.
        photos: What it trained on and what it held out.
        probs: (held-out photos, classes) of the finished model.
        recipe: The run.
    """
    write_contact_sheets(run, photos.val, probs, photos.labels)
    sets = [(photos.val, probs)]
    features = load_features(run)
    divisible = np.count_nonzero(np.bincount(photos.train_targets) >= 2) >= 2  # classes, for folds
    if recipe.probe and features is not None and divisible:
        unseen = unseen_probabilities(
            features, photos.train_targets, l2=recipe.probe.l2, balance=recipe.data.balance
        )
        sets.append((photos.train, unseen))
    found = write_suspects(run, sets, photos.labels)
    print(
        f"To look at: {run / 'worst.jpg'}, {run / 'doubtful.jpg'} and {run / 'suspects.csv'} "
        f"({found} photos that are perhaps filed under a wrong label)."
    )


def write_contact_sheets(
    run: Path, photos: DecodedPhotos, probs: np.ndarray, labels: Sequence[str]
) -> None:
    """Writes worst.jpg, the photos whose label got least, and doubtful.jpg, the closest decisions.

    Args:
        run: The run's folder.
        photos: Labelled photos that trained nothing.
        probs: (photos, classes) of the finished model.
        labels: Class names in the order of the classes.
    """
    targets = photos.targets(labels)
    given = probs[np.arange(len(probs)), targets]
    second, first = np.sort(probs, axis=1)[:, -2:].T
    for name, order in (("worst", np.argsort(given)), ("doubtful", np.argsort(first - second))):
        tiles = [
            (
                photos.image(index),
                f"{labels[probs[index].argmax()]} {100 * first[index]:.0f} %",
                f"filed: {labels[targets[index]]} {100 * given[index]:.0f} %",
            )
            for index in order[:SHOWN]
        ]
        with atomic_path(run / f"{name}.jpg") as temporary:
            _sheet(tiles).save(temporary, "JPEG", quality=85)


def write_suspects(
    run: Path, sets: Iterable[tuple[DecodedPhotos, np.ndarray]], labels: Sequence[str]
) -> int:
    """Writes suspects.csv: photos probably filed under the wrong label, likeliest first.

    Confident learning (Northcutt et al. 2021): a photo is suspected where the probability of
    another class is as high as it usually is for photos of that class.

    Args:
        run: The run's folder.
        sets: Photos, with the probabilities (photos, classes) of a model that did not learn from
            them: see `unseen_probabilities`.
        labels: Class names in the order of the classes.

    Returns:
        How many there are.
    """
    rows = []
    for photos, probs in sets:
        targets = photos.targets(labels)
        for index in find_label_issues(
            targets, probs, return_indices_ranked_by="self_confidence", n_jobs=1
        ):
            best, label = probs[index].argmax(), targets[index]
            chances = (probs[index, best], probs[index, label])
            rows.append([photos.photos[index].path, labels[label], labels[best], *chances])
    rows.sort(key=lambda row: row[-1])
    path = run / "suspects.csv"
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(SUSPECTS)
        writer.writerows([*row[:3], *(f"{chance:.3f}" for chance in row[3:])] for row in rows)
    return len(rows)


def unseen_probabilities(
    features: np.ndarray, targets: np.ndarray, *, l2: float, balance: float
) -> np.ndarray:
    """Each photo's class probabilities by a linear probe that was fitted without it.

    Args:
        features: (photos, channels) of a network that did not learn from these photos.
        targets: (photos,) int class indices, at least two classes with two photos.
        l2, balance: As for `training.engine.linear_probe.fit_head`.

    Returns:
        (photos, classes) float64; where a class has fewer than five photos, a fold may lack it.
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


def _sheet(tiles: Sequence[tuple[Image.Image, str, str]]) -> Image.Image:
    font = ImageFont.load_default(11)
    height = TILE + 30
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, *lines) in enumerate(tiles):
        left, top = number % COLUMNS * TILE, number // COLUMNS * height
        sheet.paste(ImageOps.fit(picture, (TILE - 4, TILE - 4)), (left, top))
        for line, text in enumerate(lines):
            pen.text((left, top + TILE - 3 + 14 * line), text[:26], "black", font)
    return sheet
