"""The arguments of the training commands, and the recipe that those of training.train make."""

import argparse
import os
from pathlib import Path
from typing import Any

from flower_model.errors import DataError, RecipeError
from training.recipe import RECIPES, Recipe, load_recipe, merge, parse_change

TRACKERS = ("tensorboard", "trackio")


def parser() -> argparse.ArgumentParser:
    """Of `python -m training.train`."""
    recipes = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    options = argparse.ArgumentParser(
        prog="python -m training.train", description="Trains a flower classifier."
    )
    options.add_argument("recipe", nargs="?", help=f"one of {recipes}, or the path of a .toml file")
    options.add_argument(
        "--data",
        help="what to train on: a folder of class folders or of Parquet or WebDataset files, or "
        "hf://datasets/user/name",
    )
    options.add_argument(
        "--stream",
        action="store_true",
        help="read the files of --data anew in every epoch: for more photos than the disk holds",
    )
    add_photos_arguments(options)
    options.add_argument(
        "--pretrained",
        help="first weights: a timm tag, a Hub repository or a folder "
        "(default: $FLOWER_PRETRAINED or what the recipe says)",
    )
    options.add_argument(
        "--explain",
        action="store_true",
        help="train nothing; say what would happen and what it would cost on this machine",
    )
    options.add_argument("--out", help="the run's folder (default: runs/RECIPE)")
    options.add_argument("--model", metavar="NAME", help="a timm architecture, such as resnet101")
    options.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the photos; 0: the probe alone"
    )
    options.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="train and test at this one size"
    )
    options.add_argument(
        "--freeze",
        type=int,
        metavar="N",
        help="leave the first groups of layers as they are; a ResNet: 1 the stem, 2 and its "
        "first stage, …, 5 all but the head",
    )
    options.add_argument("--resume", action="store_true", help="go on after the last epoch")
    options.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    options.add_argument(
        "--track",
        choices=TRACKERS,
        help="show the figures of each epoch in TensorBoard (OUT/NAME) or Trackio (its own page)",
    )
    options.add_argument(
        "--push-to-hub", metavar="user/repo", help="publish the finished model on the Hub"
    )
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe, such as finetune.epochs=2",
    )
    return options


def chosen_recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that the arguments name, with what else they say put in.

    Raises:
        RecipeError: If there is no such recipe, or a value is no good.
    """
    changes: dict[str, Any] = {}
    for text in options.set:
        changes = merge(changes, parse_change(text))
    for section in ("data", "model", "finetune"):
        if not isinstance(changes.get(section, {}), dict):
            raise RecipeError(
                f"{section} is a section: set one of its keys, such as {section}.KEY=1."
            )
    for section, values in _shorthands(options).items():
        changes.setdefault(section, {}).update(values)
    model = changes["model"]
    if options.pretrained is not None:
        model["pretrained"] = options.pretrained
    elif "pretrained" not in model:
        # of another architecture its own weights on the Hub: those at hand are another network's
        own = options.model or os.environ.get("FLOWER_PRETRAINED")
        model |= {"pretrained": own} if own else {}
    if options.data:
        hub = options.data.startswith("hf://datasets/")
        folder = options.data.rstrip("/") if hub else str(Path(options.data).absolute())
        changes.setdefault("data", {}).update(train=[f"{folder}:train"], val=[f"{folder}:val"])
        changes.setdefault("name", Path(folder).name.lstrip(".") or "photos")
        if options.stream:
            changes["data"]["stream"] = True
    elif options.stream:
        raise RecipeError("--stream needs --data: name a dataset in shards.")
    elif not options.recipe:
        raise RecipeError("Name a recipe or, with --data, a folder of class folders.")
    recipe = load_recipe(options.recipe or "default", changes)
    if options.image_size is not None and recipe.probe:
        probe = recipe.probe.model_copy(update={"image_size": options.image_size})
        recipe = recipe.model_copy(update={"probe": probe})
    return recipe


def _shorthands(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The settings that have an option of their own, as changes to a recipe."""
    finetune = {"epochs": options.epochs, "freeze": options.freeze}
    changes: dict[str, dict[str, Any]] = {
        "finetune": {key: value for key, value in finetune.items() if value is not None},
        "model": {},
    }
    if options.model:
        changes["model"]["architecture"] = options.model
    if options.image_size is not None:
        changes["finetune"]["image_sizes"] = [options.image_size]
        changes["model"]["test_size"] = options.image_size
    return changes


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
