"""python -m training.train RECIPE: photos in, a weights folder out."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flower_model.cli import run_command
from flower_model.errors import HubError, RecipeError
from training.calibrate import add_not_flowers_argument, not_flowers_folder
from training.recipe import RECIPES, Recipe, load_recipe, parse_change

if TYPE_CHECKING:  # a mistyped option is told before torch's seconds of import
    from accelerate import Accelerator

RECIPE_FILE = "recipe.json"  # in a run's folder: with which settings it was started


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (2: bad input, said in one sentence)."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: run_training(options))


def run_training(options: argparse.Namespace) -> int:
    """Checks what was asked for, then trains."""
    recipe = _recipe(options)
    if options.explain:
        print(explain(recipe, Path(options.data_root)))
        return 0
    run = Path(options.out or f"runs/{recipe.name}")
    _check_run(run, recipe, resume=options.resume, overwrite=options.overwrite)
    if options.push_to_hub:
        from flower_model.hub_upload import check_login

        check_login(options.push_to_hub)  # now, not after hours of training
    data_root = Path(options.data_root)
    not_flowers = not_flowers_folder(options, data_root)
    train(recipe, run, data_root, not_flowers, resume=options.resume)
    if options.push_to_hub:
        push(run / "model", options.push_to_hub)
    return 0


def explain(recipe: Recipe, data_root: Path) -> str:
    """What `train` would do with the same arguments, and how long each phase would take."""
    from training.finetune import keep_freed_memory
    from training.forecast import forecast

    keep_freed_memory()
    accelerator, bf16 = _accelerator(recipe)
    return forecast(recipe, data_root, accelerator=accelerator, bf16=bf16)


def train(
    recipe: Recipe, run: Path, data_root: Path, not_flowers: Path | None, *, resume: bool = False
) -> None:
    """A whole run, from the photos to the weights folder `run`/model.

    Args:
        recipe: What to do.
        run: Folder for metrics, checkpoints and the finished model; an earlier run in it goes,
            once the photos have been read, unless it is resumed.
        data_root: Folder that the recipe's sources lie in.
        not_flowers: Folder of photos that show no flower; None if there is none.
        resume: Go on from the run's last epoch.

    Raises:
        FlowerModelError: If the data, the pretrained weights or the run folder are no good.
    """
    # Imported here so that `--help` and a mistyped recipe answer at once.
    import numpy as np
    import torch

    from flower_model.classifier import FlowerClassifier
    from flower_model.config import ModelConfig
    from training.calibration import calibrate, summary
    from training.data import load_photos, resize_side
    from training.figures import confusion_picture, training_curve
    from training.finetune import finetune, keep_freed_memory, seconds_since_last
    from training.flowers102 import botanical_names
    from training.pretrained import create_network
    from training.probe import probe_head
    from training.report import provenance

    keep_freed_memory()
    accelerator, bf16 = _accelerator(recipe)
    short_side = resize_side(recipe.model.test_size, recipe.model.crop)
    photos = load_photos(recipe.data, data_root, short_side, recipe.seed)

    torch.manual_seed(recipe.seed)
    network = create_network(recipe.model, len(photos.labels))
    network = network.to(memory_format=torch.channels_last).to(accelerator.device)
    resume = resume and (run / "last.safetensors").exists()
    if not resume and accelerator.is_main_process:
        _start_run(run, recipe)
    if recipe.probe and not resume:
        probe_head(network, photos, recipe, device=accelerator.device, bf16=bf16)
    network, seconds = finetune(
        network, photos, recipe, run, accelerator=accelerator, bf16=bf16, resume=resume
    )

    botanical = botanical_names()
    config = ModelConfig(
        architecture=recipe.model.architecture,
        labels=tuple(photos.labels),
        descriptions={label: botanical[label] for label in photos.labels if label in botanical},
        details=provenance(recipe, photos, seconds),
    )
    model = FlowerClassifier(network, config, accelerator.device)
    answers = calibrate(model, recipe, photos.train, photos.val, data_root, not_flowers)
    print(summary(model), flush=True)
    model.pictures["training-curve.png"] = training_curve(run / "metrics.csv")
    model.pictures["confusion-matrix.png"] = confusion_picture(
        np.concatenate([a.targets for a in answers]),
        np.concatenate([a.logits.argmax(1) for a in answers]),
        photos.labels,
    )
    if accelerator.is_main_process:
        (run / "model" / "README.md").unlink(missing_ok=True)  # a card of an earlier try
        model.save_pretrained(run / "model")
        print(
            f"Model saved in {run / 'model'} ({seconds_since_last():.0f} s after the last epoch)."
        )


def _accelerator(recipe: Recipe) -> tuple["Accelerator", bool]:
    """Accelerate's view of device and processes, and whether the network runs in bf16."""
    from accelerate import Accelerator, PartialState

    from flower_model.torch_runtime import gains_from_bf16

    bf16 = recipe.finetune.precision == "bf16" or (
        recipe.finetune.precision == "auto" and gains_from_bf16(PartialState().device)
    )
    return Accelerator(mixed_precision="bf16" if bf16 else "no"), bf16


def push(folder: Path, repo_id: str) -> None:
    """Publishes a finished run's model.

    Raises:
        HubError: If the push fails, with the command that makes up for it.
    """
    from training.publish import publish_model

    try:
        print(f"Published: {publish_model(folder, repo_id)}")
    except HubError as error:
        raise HubError(
            f"{error} The model is safe in '{folder}'; to push it later: "
            f"python -m training.publish {folder} {repo_id}"
        ) from None


def _recipe(options: argparse.Namespace) -> Recipe:
    changes: dict[str, Any] = {}
    for text in options.set:
        for section, values in parse_change(text).items():
            if isinstance(values, dict):
                changes.setdefault(section, {}).update(values)
            else:
                changes[section] = values
    for section, values in _shorthands(options).items():
        changes.setdefault(section, {}).update(values)
    if options.pretrained is None and "pretrained" not in changes.get("model", {}):
        options.pretrained = os.environ.get("FLOWER_PRETRAINED")
    if options.pretrained is not None:
        changes.setdefault("model", {})["pretrained"] = options.pretrained
    if options.data:
        folder = str(Path(options.data).absolute())
        changes.setdefault("data", {}).update(train=[f"{folder}:train"], val=[f"{folder}:val"])
        changes.setdefault("name", Path(folder).name)
    elif not options.recipe:
        raise RecipeError("Name a recipe or, with --data, a folder of class folders.")
    return load_recipe(options.recipe or "default", changes)


def _shorthands(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The settings that have an option of their own, as changes to a recipe."""
    finetune = {"epochs": options.epochs, "freeze": options.freeze}
    changes: dict[str, dict[str, Any]] = {
        "finetune": {key: value for key, value in finetune.items() if value is not None},
        "model": {},
    }
    if options.model:
        # its own default weights on the Hub: the recipe's are another network's
        changes["model"] |= {"architecture": options.model, "pretrained": options.model}
    if options.image_size is not None:
        changes["finetune"]["image_sizes"] = [options.image_size]
        changes["model"]["test_size"] = options.image_size
    return changes


def _check_run(run: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> None:
    """Refuses to overwrite an earlier run by accident, or to resume another one."""
    recipe_file = run / RECIPE_FILE
    if resume:
        if not recipe_file.exists():
            raise RecipeError(f"'{run}' holds no run to resume: leave out --resume.")
        if recipe_file.read_text(encoding="utf-8") != recipe.model_dump_json(indent=2):
            raise RecipeError(
                f"'{run}' was started with other settings ({recipe_file}): "
                "resume it with the same command or choose --overwrite."
            )
    elif recipe_file.exists() and not overwrite:
        raise RecipeError(
            f"'{run}' already holds a run: go on with --resume, replace it with --overwrite "
            "or name another folder with --out."
        )
    elif run.is_file() or (run.is_dir() and any(run.iterdir()) and not recipe_file.exists()):
        raise RecipeError(f"'{run}' holds other files: name an empty folder with --out.")


def _start_run(run: Path, recipe: Recipe) -> None:
    from flower_model.files import atomic_path

    if run.exists():
        shutil.rmtree(run)
    with atomic_path(run / RECIPE_FILE) as temporary:
        temporary.write_text(recipe.model_dump_json(indent=2), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    recipes = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description="Trains a flower classifier."
    )
    parser.add_argument("recipe", nargs="?", help=f"one of {recipes}, or the path of a .toml file")
    parser.add_argument("--data", help="a folder of class folders to train on")
    parser.add_argument(
        "--data-root",
        default=os.environ.get("FLOWER_DATA", "data"),
        help="where the recipe's photos lie (default: $FLOWER_DATA or data)",
    )
    add_not_flowers_argument(parser)
    parser.add_argument(
        "--pretrained",
        help="first weights: a timm tag, a Hub repository or a folder "
        "(default: $FLOWER_PRETRAINED or what the recipe says)",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="train nothing; say what would happen and what it would cost on this machine",
    )
    parser.add_argument("--out", help="the run's folder (default: runs/RECIPE)")
    parser.add_argument("--model", metavar="NAME", help="a timm architecture, such as resnet101")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the photos")
    parser.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="train and test at this one size"
    )
    parser.add_argument(
        "--freeze",
        type=int,
        metavar="N",
        help="leave the first groups of layers as they are; a ResNet: 1 the stem, 2 and its "
        "first stage, …, 5 all but the head",
    )
    parser.add_argument("--resume", action="store_true", help="go on after the last epoch")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
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


if __name__ == "__main__":
    sys.exit(main())
