"""One answer for each folder of photos: `flower-model photos/ --group-by folder`."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING, Any

from flower_model.errors import ImageError
from flower_model.plant import (
    PlantPrediction,
    make_plant_prediction,
    photo_outputs,
    stack_outputs,
)

if TYPE_CHECKING:
    from flower_model.classifier import FlowerClassifier


def predict_folders(
    model: "FlowerClassifier", photos: Sequence[str], *, top_k: int
) -> Iterator[tuple[dict[str, Any], PlantPrediction | ImageError, str]]:
    """Yield each folder with its files, its answer and a note about its photos.

    The folders are in the order of their first photos. A photo that can't be opened is yielded by
    itself, with its error, before its folder.
    """
    rank: dict[str, int] = {}
    for photo in photos:
        rank.setdefault(os.path.dirname(photo), len(rank))
    photos = sorted(photos, key=lambda photo: rank[os.path.dirname(photo)])
    with closing(photo_outputs(photos, model.to_pixels, model.runtime)) as stream:
        pairs = zip(photos, stream, strict=True)
        for folder, members in groupby(pairs, key=lambda pair: os.path.dirname(pair[0])):
            names, rows = [], []
            for photo, outputs in members:
                if isinstance(outputs, ImageError):
                    yield {"photo": photo}, outputs, ""
                else:
                    names.append(os.path.basename(photo))
                    rows.append(outputs)
            if rows:
                plant = make_plant_prediction(
                    stack_outputs(rows), model.config, model.rejection, top_k=top_k
                )
                source = {"folder": folder or ".", "files": names}
                yield source, plant, describe_photos(plant, names)


def describe_photos(plant: PlantPrediction, names: Sequence[str]) -> str:
    """Return for example "from 3 photos; b.jpg disagrees: tulip; c.jpg: no flower"."""
    count = len(plant.photos)
    parts = [f"from {count} photo{'s' if count > 1 else ''}"]
    parts += [f"{names[i]} disagrees: {plant.photos[i].answer}" for i in plant.disagreeing]
    parts += [f"{names[i]}: {plant.photos[i].answer}" for i in plant.left_out]
    return "; ".join(parts)
