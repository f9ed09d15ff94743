"""Calibrating a finished model again, on the photos that its own run held out."""

import json
from pathlib import Path

from pydantic import ValidationError

from flower_model import FlowerClassifier
from flower_model.config import CONFIG_FILE
from flower_model.errors import DataError, ModelError
from flower_model.rejection import save_rejection
from flower_model.serialization.weights_folder import is_card_edited, write_card
from flower_model.system.files import atomic_path
from training.calibration.fit import calibrate, summary
from training.data.decoded import DecodedPhotos, decode_photos, resize_side
from training.data.sources import fingerprint, gather
from training.recipe import Recipe


def photos_of_run(
    model: FlowerClassifier, folder: Path, data_root: Path
) -> tuple[Recipe, DecodedPhotos, DecodedPhotos]:
    """A model's recipe, and the photos that trained it and that it has not seen.

    Raises:
        ModelError: If training.train did not make it.
        DataError: If the photos are missing, or not the same as then.
    """

    try:
        recipe = Recipe.model_validate(model.config.details["recipe"])
        expected = model.config.details["held_out"]["sha256"]
    except (KeyError, TypeError, ValidationError):
        raise ModelError(
            f"'{folder}' does not say what it was trained on, and so not what it has never seen: "
            "only a model that training.train made can be calibrated."
        ) from None
    train, held_out = gather(recipe.data, data_root)
    short_side = resize_side(model.image_size, model.crop)
    decoded = decode_photos(held_out, short_side, "decoding")
    if fingerprint(decoded.photos) != expected:
        raise DataError(
            f"The photos under '{data_root}' are not those that '{folder}' was trained on, so none "
            "is known to be new to it: check --data-root."
        )
    return recipe, decode_photos(train, short_side, "decoding"), decoded


def calibrated_as_its_run(folder: Path, data_root: Path, not_flowers: Path | None) -> str:
    """Fits a weights folder's temperature and rule to the photos that its run held out.

    Args:
        folder: The weights folder; all but its weights is written anew.
        data_root: Folder that the recipe's sources lie in.
        not_flowers: Folder of photos that show no flower; None if there is none.

    Returns:
        What was found, for people to read.

    Raises:
        ModelError: If training.train did not make it.
        DataError: If the photos are missing, or not the same as then.
    """

    model = FlowerClassifier.from_pretrained(folder)
    recipe, train, held_out = photos_of_run(model, folder, data_root)
    calibrate(model, recipe, train, held_out, data_root, not_flowers)
    _write(model, folder)
    return summary(model)


def _write(model: FlowerClassifier, folder: Path) -> None:
    """Writes all but the weights; whenever it is cut off, the folder can be loaded."""

    card_stays = is_card_edited(folder)
    if model.rejection:  # before the config.json that asks for it
        save_rejection(model.rejection, folder)
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    content["flower_model"] = model.config.to_timm()["flower_model"]
    with atomic_path(folder / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for name in ("reliability.png", "confusion-matrix.png"):
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(model.pictures[name])
    if not card_stays:
        write_card(folder, model.config, model.pictures)
