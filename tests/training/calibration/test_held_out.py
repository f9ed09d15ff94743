"""Outputs on held-out photos of several sources: copies count as one photo."""

import shutil

import numpy as np
import pytest

from tests.support.drawn import draw_dataset
from training.calibration.held_out import HeldOut, align_folds, digests_of, split_features
from training.calibration.rejection_fit import FOLDS
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.folders import read_photo_folder
from training.data.sources import folds


def decoded(folder) -> DecodedPhotos:
    return decode_photos(read_photo_folder(folder).splits[""], 64, cache=False)


def outputs(photos: DecodedPhotos) -> HeldOut:
    """Outputs as `predict_held_out` returns them; a photo's feature is its number."""
    numbers = np.arange(len(photos))
    features = numbers[:, None].astype(np.float32)
    return HeldOut(features, features, numbers, folds(photos.photos, FOLDS), digests_of(photos))


@pytest.fixture
def sources(tmp_path) -> list[HeldOut]:
    """Two sources, each with photos of its own; the second has all photos of the first too."""
    first = draw_dataset(tmp_path / "first", 8)
    second = draw_dataset(tmp_path / "second", 5, offset=500)
    for photo in first.glob("*/*.png"):
        shutil.copy(photo, second / photo.parent.name / f"copy-{photo.name}")
    return [outputs(decoded(folder)) for folder in (first, second)]


def test_copies_in_several_sources_are_in_the_same_fold(sources):
    aligned = align_folds(sources)
    of_first, of_second = (dict(zip(p.digests, p.fold, strict=True)) for p in aligned)
    assert of_first.items() <= of_second.items()
    assert aligned[0].fold.tolist() == sources[0].fold.tolist()


def test_folds_of_sources_without_common_photos_do_not_change(tmp_path):
    folders = [draw_dataset(tmp_path / str(n), 8, offset=100 * n) for n in range(2)]
    parts = [outputs(decoded(folder)) for folder in folders]
    for part, aligned in zip(parts, align_folds(parts), strict=True):
        assert aligned.fold.tolist() == part.fold.tolist()
        assert aligned.fold.dtype == part.fold.dtype


def test_features_are_divided_without_the_copies_of_another_source(sources):
    parts = split_features(align_folds(sources))
    assert sum(map(len, parts)) == len(np.unique(sources[1].digests)) == 24 + 15
