"""Oxford 102 Flowers (Nilsback & Zisserman, ICVGIP 2008) with class names."""

import json
from functools import cache
from pathlib import Path

from torchvision.datasets import Flowers102

from flower_model.errors import DataError, shorten

NAMES_FILE = Path(__file__).with_suffix(".json")  # [English name, botanical name] by class number


def photos(root: Path, split: str) -> list[tuple[Path, str]]:
    """Return (file, English name) pairs of a split ("train", "val" or "test"); download missing files.

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
    names = [name for name, _ in class_names()]
    return [(file, names[number]) for file, number in zip(files, data._labels, strict=True)]


@cache
def class_names() -> list[tuple[str, str]]:
    """Return (English name, botanical name) of the 102 classes in class number order."""
    return [(name, botanical) for name, botanical in json.loads(NAMES_FILE.read_text("utf-8"))]


def botanical_names() -> dict[str, str]:
    """Return English -> botanical names, including the shipped model's additional class, tulip."""
    return dict(class_names()) | {"tulip": "Tulipa"}
