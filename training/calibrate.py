"""python -m training.calibrate MODEL: the temperature, and the rule that says what is no flower."""

import argparse
import sys
from pathlib import Path

from flower_model.cli.common import run_command
from flower_model.errors import ModelError
from training.arguments import add_photos_arguments, not_flowers_folder


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (2: bad input, said in one sentence)."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _calibrate_folder(options))


def _calibrate_folder(options: argparse.Namespace) -> int:
    folder, data_root = Path(options.model), Path(options.data_root)
    if not folder.is_dir():
        raise ModelError(f"There is no model folder '{folder}': only a folder can be calibrated.")
    not_flowers = not_flowers_folder(options, data_root)
    from training.calibration.recalibrate import recalibrate_folder  # torch: seconds

    print(recalibrate_folder(folder, data_root, not_flowers))
    return 0


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
