"""Outliers: photos that belong to no class. A run trains on one half, the rules are fitted to the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flower_model.errors import DataError, shorten
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.folders import Photo, visible_files
from training.data.sources import digest, folds
from training.recipe import Data, Recipe

MIN_NEGATIVES = 20  # different photos, for a rejection rule
MIN_SPECIES = 5  # for a known-species rule: one in each fold of the cross-validation
HALF = " besides the half for training"  # in messages


class Outliers(NamedTuple):
    """Decoded photos that belong to no class; None without any.

    Attributes:
        negatives: Non-flower photos.
        other_flowers: Flowers of other species, with the names of the species as labels.
    """

    negatives: DecodedPhotos | None = None
    other_flowers: DecodedPhotos | None = None

    def together(self) -> DecodedPhotos | None:
        """Return the photos of both kinds."""
        if self.negatives and self.other_flowers:
            return self.negatives.extended(self.other_flowers)
        return self.negatives or self.other_flowers


def training_outliers(data: Data, root: Path, short_side: int) -> Outliers:
    """Decode the outliers that a recipe trains on, to a short side of at most `short_side` pixels.

    Raises:
        DataError: If one of its folders holds no file.
    """
    negatives = [photo for folder in data.negatives for photo in not_flowers(root / folder)]
    others = [photo for folder in data.other_flowers for photo in other_flowers(root / folder)]
    halves = _half(negatives, folds(negatives, 2), 0), _half(others, species_folds(others, 2), 0)
    return Outliers(*(decode_photos(half, short_side) if half else None for half in halves))


def calibration_outliers(
    folders: tuple[Path | None, Path | None], short_side: int, recipe: Recipe
) -> Outliers:
    """Decode the outliers that the rules are fitted to, without those that the run trained on.

    Args:
        folders: The folders of non-flower photos and of flowers of other species; None without any.
        short_side: As for `training.data.decoded.decode_photos`.
        recipe: The recipe of the run.

    Raises:
        DataError: If there are readable photos of fewer than `MIN_NEGATIVES` different negatives or
            `MIN_SPECIES` species.
    """
    negatives = others = None
    if folders[0]:
        photos = not_flowers(folders[0])
        if recipe.data.negatives:
            photos = _half(photos, folds(photos, 2), 1)
        negatives = decode_photos(photos, short_side)
        negatives.print_skipped()
        count = len({digest(photo.path) for photo in negatives.photos})
        if count < MIN_NEGATIVES:
            photos_left = f"{count} different readable photo{'' if count == 1 else 's'}"
            half = HALF if recipe.data.negatives else ""
            raise DataError(
                f"'{shorten(folders[0], 120)}' contains only {photos_left}{half}. A rejection rule "
                f"requires at least {MIN_NEGATIVES} non-flower photos: add some."
            )
    if folders[1]:
        photos = other_flowers(folders[1])
        if recipe.data.other_flowers:
            photos = _half(photos, species_folds(photos, 2), 1)
        others = decode_photos(photos, short_side)
        others.print_skipped()
        count = len({photo.label for photo in others.photos})
        if count < MIN_SPECIES:
            half = HALF if recipe.data.other_flowers else ""
            raise DataError(
                f"'{shorten(folders[1], 120)}' contains photos of only {count} species{half}. A "
                f"known-species rule requires at least {MIN_SPECIES}, each in a folder of its own: "
                "add some."
            )
    return Outliers(negatives, others)


def not_flowers(folder: Path) -> list[Photo]:
    """List all files in a folder and its subfolders as unlabelled photos.

    Raises:
        DataError: If the folder holds no file.
    """
    return [Photo(file, "") for file in _files(folder, "non-flower photos", "--not-flowers")]


def other_flowers(folder: Path) -> list[Photo]:
    """List the files in a folder as photos of the species that their folders are named after.

    Raises:
        DataError: If the folder holds no file.
    """
    files = _files(folder, "flowers of other species", "--other-flowers")
    return [Photo(file, file.parent.name) for file in files]


def species_folds(photos: Sequence[Photo], count: int) -> np.ndarray:
    """Assign photos to folds (photos,) int64, from 0 to `count` - 1; those of a species to the same."""
    species = sorted({photo.label for photo in photos})
    order = np.random.default_rng(0).permutation(len(species))
    fold_of = dict(zip(species, order % count, strict=True))
    return np.array([fold_of[photo.label] for photo in photos], dtype=np.int64)


def _half(photos: Sequence[Photo], fold_of: np.ndarray, number: int) -> list[Photo]:
    return [photo for photo, fold in zip(photos, fold_of, strict=True) if fold == number]


def _files(folder: Path, content: str, option: str) -> list[Path]:
    files = visible_files(folder)
    if not files:
        raise DataError(f"'{shorten(folder)}' holds no {content}. Add some, or check {option}.")
    return files
