"""python -m training.average --out FOLDER FIRST SECOND: average the weights of several runs.

The average of runs that started from each other's weights is often better than each of them, above all
on photos unlike the training photos ("model soups", Wortsman et al. 2022).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.cli.common import run_command
from flower_model.errors import ModelError, shorten
from training.arguments import add_data_arguments, data_sources, outlier_folders

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped path is reported at once
    from flower_model import FlowerClassifier


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code (2 for bad input, with a message on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.average",
        description="Average the weights of several runs of one model, and calibrate the average.",
    )
    parser.add_argument("models", nargs="+", help="weights folders made by training.train")
    parser.add_argument(
        "--weights",
        nargs="+",
        type=float,
        metavar="N",
        help="weight of each model (default: equal)",
    )
    parser.add_argument("--out", required=True, help="new folder for the averaged model")
    add_data_arguments(parser)
    return run_command(lambda: _average(parser.parse_args(arguments)))


def average(folders: Sequence[Path], weights: Sequence[float]) -> "FlowerClassifier":
    """Return the weighted average of several models; it is not calibrated.

    Args:
        folders: At least two weights folders with the same architecture, labels and held-out photos.
            The details of the average are those of the last.
        weights: The weight of each model in the average, above 0.

    Raises:
        ModelError: If a folder is unusable, or the models don't fit together.
    """
    import torch

    from flower_model import FlowerClassifier
    from training.calibration.fit import METRICS

    models = [FlowerClassifier.from_pretrained(f, runtime="torch", device="cpu") for f in folders]
    last = models[-1]
    # None if the model was not made by training.train
    held_out = [model.config.details.get("held_out", {}).get("sha256") for model in models]
    for folder, model, photos in zip(folders, models, held_out, strict=True):
        if (model.config.architecture, model.labels) != (last.config.architecture, last.labels):
            raise ModelError(
                f"'{shorten(folder)}' and '{shorten(folders[-1])}' differ in architecture or labels: "
                "average runs of one model."
            )
        if photos != held_out[-1]:
            raise ModelError(
                f"'{shorten(folder)}' and '{shorten(folders[-1])}' held out different photos, so no "
                "photos are unseen by both: average runs with the same held-out photos."
            )
    states = [model.network.state_dict() for model in models]
    parts = [weight / sum(weights) for weight in weights]
    mean = {
        name: torch.stack([p * s[name] for p, s in zip(parts, states, strict=True)]).sum(dim=0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[-1].items()
    }
    last.network.load_state_dict(mean)
    # The metrics were measured with the weights of the last run, or fitted to them.
    details = {k: v for k, v in last.config.details.items() if k not in METRICS}
    averaged = _averaged_runs(models, parts)
    last.config = replace(last.config, details={**details, "averaged": averaged})
    last.rejection = None
    return last


def _averaged_runs(models: "Sequence[FlowerClassifier]", parts: Sequence[float]) -> list[str]:
    """Return the weight and the recipe of each run, such as "60% flowers5"; averages are expanded."""
    runs = []
    for model, part in zip(models, parts, strict=True):
        alone = f"100% {model.config.details.get('recipe', {}).get('name', '')}"
        for text in model.config.details.get("averaged", [alone]):
            percent, _, name = text.partition("% ")
            runs.append(f"{part * float(percent) / 100:.0%} {name}")
    return runs


def _average(options: argparse.Namespace) -> int:
    from flower_model.system.files import atomic_folder

    folders, out = [Path(name) for name in options.models], Path(options.out)
    if len(folders) < 2:
        raise ModelError("Name at least two weights folders.")
    weights = options.weights or [1.0] * len(folders)
    if len(weights) != len(folders) or min(weights) <= 0:
        raise ModelError(f"--weights must be {len(folders)} numbers above 0, one for each folder.")
    if out.exists():
        raise ModelError(f"'{shorten(out)}' exists: name a new folder with --out.")
    outliers = outlier_folders(options)
    sources = data_sources(options.data)
    from training.calibration.recalibrate import recalibrate_folder  # torch takes seconds to import

    with atomic_folder(out) as folder:
        average(folders, weights).save_pretrained(folder)
        print(recalibrate_folder(folder, Path(options.data_root), outliers, sources))
    print(f"Model saved in {out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
