"""Calibrate a finished model again, on the photos that its run held out."""

import json
from pathlib import Path

from pydantic import ValidationError

from flower_model import FlowerClassifier
from flower_model.config import CONFIG_FILE
from flower_model.errors import DataError, ModelError, shorten
from flower_model.rejection import save_rejection
from flower_model.serialization.weights_folder import write_card
from flower_model.system.files import atomic_path
from training.calibration.fit import calibrate, format_summary
from training.data.decoded import DecodedPhotos, decode_photos, resize_side
from training.data.sources import fingerprint, gather
from training.recipe import Recipe


def recalibrate_folder(folder: Path, data_root: Path, negatives_folder: Path | None) -> str:
    """Fit the temperature and the rejection rule of a weights folder on its held-out photos.

    Args:
        folder: The weights folder; everything in it but the weights is rewritten.
        data_root: Folder that the recipe's sources are resolved against.
        negatives_folder: Folder of non-flower photos; None if there is none.

    Returns:
        A summary of the results.

    Raises:
        ModelError: If the model was not made by training.train.
        DataError: If the photos are missing or have changed.
    """
    model = FlowerClassifier.from_pretrained(folder)
    recipe, train, held_out = load_run_photos(model, folder, data_root)
    calibrate(model, recipe, train, held_out, data_root, negatives_folder)
    _write(model, folder)
    return format_summary(model)


def load_run_photos(
    model: FlowerClassifier, folder: Path, data_root: Path
) -> tuple[Recipe, DecodedPhotos, DecodedPhotos]:
    """Return the recipe of a model's run, its training photos and its held-out photos.

    Raises:
        ModelError: If the model was not made by training.train.
        DataError: If the photos are missing or have changed.
    """
    try:
        recipe = Recipe.model_validate(model.config.details["recipe"])
        expected = model.config.details["held_out"]["sha256"]
    except (KeyError, TypeError, ValidationError):
        raise ModelError(
            f"The config.json in '{shorten(folder, 120)}' doesn't record which photos were held "
            "out. Only a model made by training.train can be calibrated."
        ) from None
    train, held_out = gather(recipe.data, data_root)
    short_side = resize_side(model.image_size, model.crop)
    decoded = decode_photos(held_out, short_side, "decoding")
    if fingerprint(decoded.photos) != expected:
        raise DataError(
            f"The photos under '{shorten(data_root, 80)}' are not those that "
            f"'{shorten(folder, 80)}' was trained with, so some held-out photos may have been "
            "trained on. Check --data-root."
        )
    return recipe, decode_photos(train, short_side, "decoding"), decoded


def _write(model: FlowerClassifier, folder: Path) -> None:
    """Write all files but the weights; the folder can be loaded after an interruption anywhere."""
    if model.rejection:  # first, since config.json refers to it
        save_rejection(model.rejection, folder)
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    content["flower_model"] = model.config.to_timm()["flower_model"]
    with atomic_path(folder / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for name in ("reliability.png", "confusion-matrix.png"):
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(model.pictures[name])
    write_card(folder, model.config, model.pictures)
