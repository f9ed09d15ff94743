"""Oxford 102 Flowers (Nilsback & Zisserman, ICVGIP 2008) with corrected class names.

Eight classes of the data set carry the name of another plant ("fire lily" shows Gloriosa, "watercress"
Tropaeolum); others have rare or misspelt names. flowers102.csv has a common name for each class, checked against
its photos, with the botanical name, genus and family. The genus is empty where a class mixes several.
"""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from torchvision.datasets import Flowers102

from flower_model.errors import DataError, shorten
from training.data.folders import Photo

NAMES_FILE = Path(__file__).with_suffix(".csv")


class Flower(NamedTuple):
    """The names of a class: the data set's, then ours."""

    oxford: str
    label: str
    botanical: str
    genus: str
    family: str


TULIP = Flower("", "tulip", "Tulipa", "Tulipa", "Liliaceae")  # the shipped model's additional class


def photos(root: Path, split: str) -> list[Photo]:
    """Return the photos of a split ("train", "val" or "test") with the data set's names; download missing files.

    Raises:
        DataError: If the photos are missing and can't be downloaded.
    """
    try:
        data = Flowers102(root, split=split, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Oxford 102 Flowers is not in '{shorten(root)}' and can't be downloaded "
            f"({shorten(error, 100)}): check --data-root."
        ) from None
    files = [Path(file) for file in data._image_files]
    missing = sum(not file.exists() for file in files)
    if missing:
        raise DataError(
            f"{missing} of the {len(files)} photos of flowers102:{split} are missing: move "
            f"'{shorten(data._base_folder)}' away to download all of them again."
        )
    names = [flower.oxford for flower in flowers()]
    return [Photo(file, names[number]) for file, number in zip(files, data._labels, strict=True)]


@cache
def flowers() -> tuple[Flower, ...]:
    """Return the names of the 102 classes in the order of their class numbers."""
    with NAMES_FILE.open(encoding="utf-8", newline="") as file:
        return tuple(Flower(**row) for row in csv.DictReader(file))


def names_of(labels: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of `ModelConfig` that describe labels: descriptions, taxonomy and aliases."""
    known = {flower.label: flower for flower in (*flowers(), TULIP)}
    found = [known[label] for label in labels if label in known]
    return {
        "descriptions": {flower.label: flower.botanical for flower in found},
        "taxonomy": {flower.label: (flower.genus, flower.family) for flower in found},
        "aliases": {f.oxford: f.label for f in found if f.oxford and f.oxford not in labels},
    }
