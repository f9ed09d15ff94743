"""python -m training.average --out FOLDER FIRST SECOND: the mean of the weights of several rounds.

Rounds that began one with the weights of the other lie in one valley, and the middle of it is often
better than either, most of all on photos unlike those of the training (Wortsman et al. 2022).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.cli.common import run_command
from flower_model.errors import ModelError
from training.arguments import add_photos_arguments, not_flowers_folder

if TYPE_CHECKING:  # torch takes seconds to import: a mistyped path is told at once
    from flower_model import FlowerClassifier

# Measured on the last round's network, or fitted to it: not the mean's.
FITTED = ("metrics", "tests", "per_class", "calibration", "rejection")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (2: bad input, said in one sentence)."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _average(options))


def average(folders: Sequence[Path], shares: Sequence[float]) -> "FlowerClassifier":
    """The mean of the weights of several weights folders, not calibrated yet.

    Args:
        folders: At least two, of one architecture and with the same labels; what is known of the
            run is taken from the last.
        shares: How much each counts, one for each folder, above 0.

    Raises:
        ModelError: If a folder is no good, or they do not fit together.
    """
    import torch

    from flower_model import FlowerClassifier

    models = [FlowerClassifier.from_pretrained(f, runtime="torch", device="cpu") for f in folders]
    last = models[-1]
    for folder, model in zip(folders, models, strict=True):
        if (model.config.architecture, model.labels) != (last.config.architecture, last.labels):
            raise ModelError(
                f"'{folder}' and '{folders[-1]}' differ in architecture or labels: average rounds "
                "of one model."
            )
        if _held_out(model) != _held_out(last):
            raise ModelError(
                f"'{folder}' and '{folders[-1]}' held out different photos, so that each may know "
                "those that would measure the mean: average rounds on the same photos."
            )
    states = [model.network.state_dict() for model in models]
    parts = [share / sum(shares) for share in shares]
    mean = {
        name: torch.stack([p * s[name] for p, s in zip(parts, states, strict=True)]).sum(dim=0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[-1].items()
    }
    last.network.load_state_dict(mean)
    details = {k: v for k, v in last.config.details.items() if k not in FITTED}
    averaged = _rounds(models, parts)
    last.config = replace(last.config, details={**details, "averaged": averaged})
    last.rejection = None
    return last


def _rounds(models: "Sequence[FlowerClassifier]", parts: Sequence[float]) -> list[str]:
    """Of which rounds a mean is, as "60% flowers5"; a model that is a mean counts as its rounds."""
    rounds = []
    for model, part in zip(models, parts, strict=True):
        alone = f"100% {model.config.details.get('recipe', {}).get('name', '')}"
        for text in model.config.details.get("averaged", [alone]):
            percent, _, name = text.partition("% ")
            rounds.append(f"{part * float(percent) / 100:.0%} {name}")
    return rounds


def _held_out(model: "FlowerClassifier") -> str | None:
    """The fingerprint of the photos that a run held out; None if the model is no run's."""
    return model.config.details.get("held_out", {}).get("sha256")


def _average(options: argparse.Namespace) -> int:
    from flower_model.system.files import atomic_folder

    folders, out = [Path(name) for name in options.models], Path(options.out)
    if len(folders) < 2:
        raise ModelError("Name at least two weights folders.")
    shares = options.shares or [1.0] * len(folders)
    if len(shares) != len(folders) or min(shares) <= 0:
        raise ModelError(f"--shares must be {len(folders)} numbers above 0, one for each folder.")
    if out.exists():
        raise ModelError(f"'{out}' exists: name a new folder with --out.")
    data_root = Path(options.data_root)
    not_flowers = not_flowers_folder(options, data_root)
    from training.calibration.recalibrate import recalibrate_folder  # torch: seconds

    with atomic_folder(out) as folder:
        average(folders, shares).save_pretrained(folder)
        print(recalibrate_folder(folder, data_root, not_flowers))
    print(f"Model saved in {out}.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.average",
        description="Averages the weights of several rounds of one model, and calibrates the mean.",
    )
    parser.add_argument("models", nargs="+", help="weights folders that training.train made")
    parser.add_argument(
        "--shares", nargs="+", type=float, metavar="N", help="how much each counts (default: equal)"
    )
    parser.add_argument("--out", required=True, help="a new folder for the averaged model")
    add_photos_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
