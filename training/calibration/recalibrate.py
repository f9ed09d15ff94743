"""Calibrate a finished model again, on the photos that its run held out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flower_model import FlowerClassifier
from flower_model.cli.common import print_error
from flower_model.config import CONFIG_FILE, write_content
from flower_model.errors import DataError, ModelError, shorten
from flower_model.rejection import save_rejection
from flower_model.serialization.weights_folder import write_card
from flower_model.system.files import atomic_path
from training.calibration.fit import calibrate, format_summary
from training.calibration.quantize import try_quantize_folder
from training.calibration.references import write_references
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.outliers import calibration_outliers
from training.data.sources import fingerprint, gather, source_photos
from training.data.training_record import count_trained_on, load_record
from training.engine.inference import unquantized_precision
from training.recipe import Recipe
from training.reporting.failure import report_failure


def recalibrate_folder(
    folder: Path,
    data_root: Path,
    outlier_folders: tuple[Path | None, Path | None],
    sources: Mapping[str, Any] | None = None,
) -> str:
    """Fit the temperature and the rules of a weights folder on its held-out photos.

    Args:
        folder: The weights folder; everything in it but the weights is rewritten.
        data_root: Folder that the recipe's sources are resolved against.
        outlier_folders: As for `training.data.outliers.calibration_outliers`.
        sources: Keys of the recipe's `data` section to replace, such as the folder of the photos.

    Returns:
        A summary of the results.

    Raises:
        ModelError: If the model was not made by training.train, or was taught.
        DataError: If the photos are missing or have changed.
    """
    model = FlowerClassifier.from_pretrained(folder, precision=unquantized_precision())
    if model.config.details.get("taught"):
        raise ModelError(
            f"'{shorten(folder)}' has classes that were taught, of which there are no photos here: "
            "calibrate or average the models before teaching."
        )
    recipe, train, held_out = load_run_photos(model, folder, data_root, sources)
    record = load_record(folder)
    for source in {*recipe.data.test, *recipe.data.calibrate}:
        photos = source_photos(source, data_root, recipe.data)
        if count := count_trained_on(photos, record):
            print_error(
                f"Warning: the model was trained on {count} of the {len(photos)} photos of '{source}'."
            )
    outliers = calibration_outliers(outlier_folders, held_out.short_side, recipe)
    calibrate(model, recipe, train, held_out, data_root, outliers)
    _write(model, folder)
    try_quantize_folder(folder, train)
    with report_failure("The reference features"):
        write_references(model, train, folder)
    return format_summary(model)


def load_run_photos(
    model: FlowerClassifier,
    folder: Path,
    data_root: Path,
    sources: Mapping[str, Any] | None = None,
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
            "out. Only a model made by training.train has such a record."
        ) from None
    data = recipe.data.model_copy(update={"test": (), **sources} if sources else {})
    recipe = recipe.model_copy(update={"data": data})
    train, held_out = gather(data, data_root)
    short_side = model.photo_transform.short_side
    decoded = decode_photos(held_out, short_side)
    if fingerprint(decoded.photos) != expected:
        raise DataError(
            f"The photos of {shorten(', '.join(data.val), 80)} are not those that the run of "
            f"'{shorten(folder)}' held out, so it may have been trained on some of them. Check --data "
            "and --data-root."
        )
    return recipe, decode_photos(train, short_side), decoded


def _write(model: FlowerClassifier, folder: Path) -> None:
    """Write all files but the weights; the folder can be loaded after an interruption anywhere."""
    if model.rejection:  # first, since config.json refers to it
        save_rejection(model.rejection, folder)
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    content["flower_model"] = model.config.to_timm()["flower_model"]
    write_content(folder, content)
    for name in model.pictures.keys() & {"reliability.png", "confusion-matrix.png"}:
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(model.pictures[name])
    write_card(folder, model.config, model.pictures)
