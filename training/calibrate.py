"""python -m training.calibrate MODEL: the temperature, and the rule that says what is no flower."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.cli.common import run_command
from flower_model.errors import DataError, ModelError

if TYPE_CHECKING:  # torch takes seconds to import: a mistyped path is told at once
    from flower_model import FlowerClassifier
    from training.data import DecodedPhotos
    from training.recipe import Recipe


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (2: bad input, said in one sentence)."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _calibrate_folder(options))


def add_photos_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--data-root` and `--not-flowers`."""
    parser.add_argument(
        "--data-root",
        default=os.environ.get("FLOWER_DATA", "data"),
        help="where the recipe's photos lie (default: $FLOWER_DATA or data)",
    )
    parser.add_argument(
        "--not-flowers",
        metavar="PATH",
        help="photos that show no flower (default: DATA_ROOT/not-flowers if there is one)",
    )


def not_flowers_folder(options: argparse.Namespace, data_root: Path) -> Path | None:
    """The folder that `--not-flowers` names, else the one under the data root, if there is one.

    Raises:
        DataError: If the one that was named does not exist.
    """
    folder = Path(options.not_flowers) if options.not_flowers else data_root / "not-flowers"
    if options.not_flowers and not folder.is_dir():
        raise DataError(f"There is no folder '{folder}': check --not-flowers.")
    return folder if folder.is_dir() else None


def photos_of_run(
    model: "FlowerClassifier", folder: Path, data_root: Path
) -> tuple["Recipe", "DecodedPhotos", "DecodedPhotos"]:
    """A model's recipe, and the photos that trained it and that it has not seen.

    Raises:
        ModelError: If training.train did not make it.
        DataError: If the photos are missing, or not the same as then.
    """
    from pydantic import ValidationError

    from training.data import decode_photos, resize_side
    from training.recipe import Recipe
    from training.sources import fingerprint, gather

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
    from flower_model import FlowerClassifier
    from training.calibration import calibrate, summary

    model = FlowerClassifier.from_pretrained(folder)
    recipe, train, held_out = photos_of_run(model, folder, data_root)
    calibrate(model, recipe, train, held_out, data_root, not_flowers)
    _write(model, folder)
    return summary(model)


def _calibrate_folder(options: argparse.Namespace) -> int:
    folder, data_root = Path(options.model), Path(options.data_root)
    if not folder.is_dir():
        raise ModelError(f"There is no model folder '{folder}': only a folder can be calibrated.")
    not_flowers = not_flowers_folder(options, data_root)
    print(calibrated_as_its_run(folder, data_root, not_flowers))
    return 0


def _write(model: "FlowerClassifier", folder: Path) -> None:
    """Writes all but the weights; whenever it is cut off, the folder can be loaded."""
    from flower_model.config import CONFIG_FILE
    from flower_model.rejection import save_rejection
    from flower_model.serialization.weights_folder import is_card_edited, write_card
    from flower_model.system.files import atomic_path

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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.calibrate",
        description="Fits a trained model's temperature and its rule for what is no flower anew.",
    )
    parser.add_argument("model", help="a weights folder that training.train made")
    add_photos_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
