"""Oxford 102 Flowers (Nilsback & Zisserman, ICVGIP 2008) with names for its class numbers."""

import json
from functools import cache
from pathlib import Path

from torchvision.datasets import Flowers102

from flower_model.errors import DataError

NAMES_FILE = Path(__file__).with_suffix(".json")  # [English name, botanical name] by class number


def photos(root: Path, split: str) -> list[tuple[Path, str]]:
    """(file, English name) of a split, "train", "val" or "test"; downloads what is missing.

    Raises:
        DataError: If the photos are neither there nor to be had.
    """
    try:
        data = Flowers102(root, split=split, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Oxford 102 Flowers is not under '{root}' and can't be downloaded ({error})."
        ) from None
    files = [Path(file) for file in data._image_files]
    missing = sum(not file.exists() for file in files)
    if missing:
        raise DataError(
            f"{missing} of the {len(files)} photos of flowers102:{split} are missing: move "
            f"'{data._base_folder}' away, and all are downloaded anew."
        )
    names = [name for name, _ in class_names()]
    return [(file, names[number]) for file, number in zip(files, data._labels, strict=True)]


@cache
def class_names() -> list[tuple[str, str]]:
    """(English name, botanical name) of the 102 classes in the order of their numbers."""
    return [(name, botanical) for name, botanical in json.loads(NAMES_FILE.read_text("utf-8"))]


def botanical_names() -> dict[str, str]:
    """English -> botanical name, with the tulip that the shipped model adds."""
    return dict(class_names()) | {"tulip": "Tulipa"}
