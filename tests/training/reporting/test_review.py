"""Review files of a run: contact sheets and suspected label errors."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.drawn import COLOURS, draw_dataset
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.folders import read_photo_folder
from training.reporting.review import (
    cross_validated_probabilities,
    write_contact_sheets,
    write_suspects,
)

LABELS = sorted(COLOURS)
MISLABELLED = "yellow among red.png"


@pytest.fixture
def photos(tmp_path) -> DecodedPhotos:
    """Discs of three colours, one of them in the wrong folder."""
    folder = draw_dataset(tmp_path / "discs", 12)
    shutil.move(folder / "yellow disc" / "000.png", folder / "red disc" / MISLABELLED)
    return decode_photos(read_photo_folder(folder).splits[""], 64, "decoding", cache=False)


@pytest.fixture
def probs(photos) -> np.ndarray:
    """Cross-validated probabilities of a probe on the mean colours of the photos."""
    features = np.stack([np.asarray(photos.image(i)).mean(axis=(0, 1)) for i in range(len(photos))])
    return cross_validated_probabilities(features, photos.targets(LABELS), l2=0.01, balance=0.5)


def test_a_mislabelled_photo_is_suspected_with_the_right_suggestion(tmp_path, photos, probs):
    assert write_suspects(tmp_path, [(photos, probs)], LABELS) == 1
    (row,) = csv.DictReader((tmp_path / "suspects.csv").open(encoding="utf-8"))
    assert Path(row["file"]).name == MISLABELLED
    assert (row["label"], row["suggested_label"]) == ("red disc", "yellow disc")
    assert float(row["suggested_probability"]) > 0.5 > float(row["label_probability"])


def test_correctly_labelled_photos_are_not_suspected(tmp_path, photos, probs):
    correct = [i for i in range(len(photos)) if photos.photos[i].path.name != MISLABELLED]
    kept = DecodedPhotos(
        [photos.photos[i] for i in correct],
        photos.images,
        [photos.rows[i] for i in correct],
        64,
        [],
    )
    assert write_suspects(tmp_path, [(kept, probs[correct])], LABELS) == 0


def test_the_largest_error_comes_first_on_the_contact_sheet(tmp_path, photos, probs):
    write_contact_sheets(tmp_path, photos, probs, LABELS)
    with Image.open(tmp_path / "worst.jpg") as sheet:
        first = np.asarray(sheet)[40:100, 40:100].mean(axis=(0, 1))
    mislabelled = next(i for i, p in enumerate(photos.photos) if p.path.name == MISLABELLED)
    centre = np.asarray(photos.image(mislabelled).resize((146, 146)))[40:100, 40:100]
    assert np.abs(first - centre.mean(axis=(0, 1))).max() < 12
    assert (tmp_path / "doubtful.jpg").exists()


def test_cross_validated_probabilities_sum_to_one(probs):
    assert np.allclose(probs.sum(axis=1), 1)


def test_a_class_of_two_photos_can_be_cross_validated():
    features = np.random.default_rng(0).normal(size=(12, 4))
    targets = np.array([0] * 10 + [1] * 2)
    features[targets == 1] += 8
    probs = cross_validated_probabilities(features, targets, l2=0.01, balance=0.5)
    assert (probs.argmax(axis=1) == targets).all()
