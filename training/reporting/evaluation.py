"""A model measured on a source of labelled photos."""

from pathlib import Path
from typing import Any

from flower_model import FlowerClassifier
from flower_model.errors import DataError
from training.data.decoded import DecodedPhotos, decode_photos, resize_side
from training.data.sources import check_labels, source_photos
from training.engine.inference import answer_photos
from training.recipe import Data
from training.reporting.metrics import measure


def evaluate(model: FlowerClassifier, source: str, data_root: Path) -> dict[str, Any]:
    """Measures a model on a source of labelled photos.

    Args:
        model: The model.
        source: "flowers102:test" or another split, or a folder of class folders, whose names
            are matched to the model's labels after the renames of the model's own recipe.
        data_root: Folder that a relative source lies in, unless it exists where the caller stands.

    Returns:
        The figures of `training.reporting.metrics.measure`, and photos, classes, labels (their numbers)
        and skipped (a sentence for each photo that does not open).

    Raises:
        FlowerModelError: If model or data are no good, or a class is none of the model's labels.
    """

    here = Path(source.partition(":")[0]).is_dir()
    decoded = decode_source(model, source, Path() if here else data_root)
    logits, _ = answer_photos(model.runtime, decoded, title="evaluating")
    targets = decoded.targets(model.labels)
    return {
        "photos": len(targets),
        "classes": len(set(targets.tolist())),
        "labels": len(model.labels),
        **measure(logits, targets, model.config.temperature),
        "skipped": decoded.skipped,
    }


def decode_source(model: FlowerClassifier, source: str, data_root: Path) -> DecodedPhotos:
    """The photos of a source, labelled as the model labels them; `evaluate` tells what a source is.

    Raises:
        DataError: If there is no such source, none of it opens, or the model lacks a label.
    """

    recipe = model.config.details.get("recipe", {})
    # The model's own renames, and its own division of what it was trained and held out from.
    own = {
        k: v
        for k, v in recipe.get("data", {}).items()
        if k in ("rename", "val_fraction", "split_seed")
    }
    data = Data(train=(source,), val=(source,), **own)
    photos = source_photos(source, data_root, data)
    check_labels(photos, source, model.labels)
    decoded = decode_photos(photos, resize_side(model.image_size, model.crop), "decoding")
    if not len(decoded):
        raise DataError(f"None of the {len(photos)} photos of '{source}' can be opened.")
    return decoded
