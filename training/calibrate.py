"""python -m training.calibrate MODEL: fit the temperature and the rules of a model again."""

import argparse
import sys
from pathlib import Path

from flower_model.cli.common import run_command
from training.arguments import add_data_arguments, data_sources, outlier_folders, weights_folder


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code (2 for bad input, with a message on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.calibrate",
        description="Fit the temperature, the rejection rule and the known-species rule of a trained "
        "model again, on the photos that its run held out. A run on --data PATH requires the same "
        "--data PATH here: if PATH has no folder for validation, the part that the run held out, "
        "PATH:val, is used.",
    )
    parser.add_argument("model", help="a weights folder made by training.train")
    add_data_arguments(parser)
    return run_command(lambda: _calibrate(parser.parse_args(arguments)))


def _calibrate(options: argparse.Namespace) -> int:
    folder = weights_folder(options.model, "calibrated")
    outliers, sources = outlier_folders(options), data_sources(options.data)
    from training.calibration.recalibrate import recalibrate_folder  # torch takes seconds to import

    print(recalibrate_folder(folder, Path(options.data_root), outliers, sources))
    return 0


if __name__ == "__main__":
    sys.exit(main())
