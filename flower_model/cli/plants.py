"""One answer for each folder of photos: `flower-model photos/ --group-by folder`."""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from flower_model.errors import ImageError
from flower_model.plant import PlantPrediction, make_plant_prediction, open_plant_photos

if TYPE_CHECKING:
    from flower_model.classifier import FlowerClassifier


def predict_folders(
    model: "FlowerClassifier", photos: Sequence[str], *, top_k: int
) -> Iterator[tuple[dict[str, Any], PlantPrediction | ImageError, str]]:
    """Yield each folder with its files, its answer and a note about its photos.

    The folders are in the order of their first photos. A photo that can't be opened is yielded by
    itself, with its error, before its folder.
    """
    folders: dict[str, list[str]] = {}
    for photo in photos:
        folders.setdefault(os.path.dirname(photo), []).append(photo)
    ordered = itertools.chain.from_iterable(folders.values())
    with closing(open_plant_photos(ordered, model.to_pixels, model.runtime)) as stream:
        for folder, members in folders.items():
            names, opened = [], []
            for photo, answer in zip(members, stream, strict=False):  # members ends first
                if isinstance(answer, ImageError):
                    yield {"photo": photo}, answer, ""
                else:
                    names.append(os.path.basename(photo))
                    opened.append(answer)
            if opened:
                plant = make_plant_prediction(opened, model.config, model.rejection, top_k=top_k)
                source = {"folder": folder or ".", "files": names}
                yield source, plant, describe_photos(plant, names)


def describe_photos(plant: PlantPrediction, names: Sequence[str]) -> str:
    """Return for example "from 3 photos; b.jpg disagrees: tulip; c.jpg: no flower"; copies count once."""
    count = len(plant.photos) - len(plant.copies)
    parts = [f"from {count} photo{'s' if count > 1 else ''}"]
    for i in sorted({*plant.disagreeing, *plant.left_out}):
        verb = " disagrees" if i in plant.disagreeing else ""
        parts.append(f"{names[i]}{verb}: {plant.photos[i].answer}")
    return "; ".join(parts)
