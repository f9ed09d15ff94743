"""Command-line arguments of the training commands, and the recipe that they select."""

import argparse
import os
from pathlib import Path
from typing import Any

from flower_model.errors import DataError, ModelError, RecipeError, shorten
from training.data.folders import HUB_PREFIX, has_test_split
from training.recipe import Recipe, load_recipe, merge, parse_change, recipe_names

TRACKERS = ("tensorboard", "trackio")


def train_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m training.train`."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description="Train a flower classifier."
    )
    parser.add_argument(
        "recipe", nargs="?", help=f"one of {recipe_names()}, or the path of a .toml file"
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--stream",
        action="store_true",
        help="read the shards of --data in every epoch instead of copying the photos to the disk",
    )
    parser.add_argument(
        "--pretrained",
        help="initial weights: a timm tag, a Hub repository or a folder "
        "(default: $FLOWER_PRETRAINED, or those of the recipe)",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="don't train; print the steps of the run and their estimated time on this machine",
    )
    parser.add_argument("--out", help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--model", metavar="NAME", help="timm architecture, such as resnet101")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="epochs of fine-tuning; 0 trains only the probe"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="use this size for training and testing"
    )
    parser.add_argument(
        "--freeze",
        type=int,
        metavar="N",
        help="freeze the first N groups of layers; of a ResNet: 1 the stem, 2 the stem and the "
        "first stage, …, 5 all but the head",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume an interrupted run after its last completed epoch",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    parser.add_argument(
        "--track",
        choices=TRACKERS,
        help="log the metrics of each epoch to TensorBoard (OUT/NAME) or Trackio",
    )
    parser.add_argument(
        "--push-to-hub", metavar="user/repo", help="publish the finished model on the Hub"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe, such as finetune.epochs=2",
    )
    return parser


def recipe_from_options(options: argparse.Namespace) -> Recipe:
    """Return the recipe that the arguments of `train_parser` select, with their changes applied.

    Raises:
        RecipeError: If there is no such recipe, or a value is invalid.
        DataError: If the folder of `--data` is unusable.
    """
    changes: dict[str, Any] = {}
    for text in options.set:
        changes = merge(changes, parse_change(text))
    for section in ("data", "model", "finetune"):
        if not isinstance(changes.get(section, {}), dict):
            raise RecipeError(
                f"{section} is a section: set one of its keys, such as {section}.KEY=1."
            )
    size = options.image_size
    by_options = {
        "finetune": {
            "epochs": options.epochs,
            "freeze": options.freeze,
            "image_sizes": None if size is None else [size],
        },
        "model": {
            "architecture": options.model or None,
            "pretrained": options.pretrained,
            "test_size": size,
        },
    }
    for section, values in by_options.items():
        given = {key: value for key, value in values.items() if value is not None}
        changes = merge(changes, {section: given})
    if "pretrained" not in changes["model"]:
        # $FLOWER_PRETRAINED has weights of the default architecture; others have their own on the Hub
        default = options.model or os.environ.get("FLOWER_PRETRAINED")
        changes["model"] |= {"pretrained": default} if default else {}
    if options.data:
        data = data_sources(options.data) | ({"stream": True} if options.stream else {})
        changes = merge(changes, {"data": data})
        name = data["train"][0].removesuffix(":train").rpartition("/")[2]
        changes.setdefault("name", name.lstrip(".") or "photos")
    elif options.stream:
        raise RecipeError("--stream requires --data with a dataset in shards.")
    elif not options.recipe:
        raise RecipeError("Name a recipe, or a folder of class folders with --data.")
    recipe = load_recipe(options.recipe or "default", changes)
    if size is not None and recipe.probe:
        probe = recipe.probe.model_copy(update={"image_size": size})
        recipe = recipe.model_copy(update={"probe": probe})
    return recipe


def data_sources(name: str | None) -> dict[str, Any]:
    """Return the `data` keys of a recipe for the value of `--data`: train, val and, for a test folder, test.

    Without `--data` there are none: the recipe's own sources apply.

    Raises:
        RecipeError: If the path can't be stored in a recipe.
        DataError: If the folder is missing or has no class folders.
    """
    if not name:
        return {}
    is_folder = not name.startswith(HUB_PREFIX)
    place = Path(name).expanduser().absolute().as_posix() if is_folder else name.rstrip("/")
    check_utf8(place)
    sources = {part: (f"{place}:{part}",) for part in ("train", "val", "test")}
    if not (is_folder and has_test_split(Path(place))):
        del sources["test"]
    return sources


def check_utf8(path: str) -> None:
    """Raise RecipeError for a path that is not UTF-8: neither a recipe nor safetensors can name it."""
    if any("\ud800" <= character <= "\udfff" for character in path):  # undecodable bytes
        raise RecipeError(f"The path {shorten(ascii(path))} is not valid UTF-8: rename the folder.")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--data`, `--data-root`, `--not-flowers` and `--other-flowers`."""
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="the photos, in place of the recipe's: a folder of class folders or of Parquet or "
        "WebDataset shards, with or without train, val and test folders, or hf://datasets/user/name",
    )
    add_data_root_argument(parser)
    parser.add_argument(
        "--not-flowers",
        metavar="PATH",
        help="folder of non-flower photos for the rejection rule "
        "(default: DATA_ROOT/not-flowers if it exists)",
    )
    parser.add_argument(
        "--other-flowers",
        metavar="PATH",
        help="folder of flowers of other species, each in a folder of its own, for the known-species "
        "rule (default: DATA_ROOT/other-flowers if it exists)",
    )


def add_data_root_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--data-root`."""
    parser.add_argument(
        "--data-root",
        default=os.environ.get("FLOWER_DATA", "data"),
        help="folder that contains flowers-102/ and the recipe's other photo folders "
        "(default: $FLOWER_DATA or data)",
    )


def weights_folder(model: str, action: str) -> Path:
    """Return the weights folder of a command that writes to it.

    Raises:
        ModelError: If it doesn't exist; the message says that models on the Hub can't be "`action`".
    """
    folder = Path(model)
    if not folder.is_dir():
        raise ModelError(
            f"There is no weights folder '{shorten(folder)}'. Models on the Hub can't be {action}."
        )
    return folder


def outlier_folders(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Return the folders of `--not-flowers` and `--other-flowers`, or the default ones if they exist.

    Raises:
        DataError: If a folder that was given doesn't exist.
    """

    def find(name: str, given: str | None) -> Path | None:
        folder = Path(given or Path(options.data_root) / name)
        if given and not folder.is_dir():
            raise DataError(f"The folder '{shorten(folder)}' doesn't exist: check --{name}.")
        return folder if folder.is_dir() else None

    return find("not-flowers", options.not_flowers), find("other-flowers", options.other_flowers)
