"""python -m training.evaluate MODEL DATA: how good a model is on labelled photos."""

import argparse
import json
import os
import sys
from pathlib import Path

from flower_model.cli.common import run_command


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (2: bad input, said in one sentence)."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _print(options))


def _print(options: argparse.Namespace) -> int:
    from flower_model import FlowerClassifier  # torch: seconds, after a mistyped option is told
    from training.reporting.evaluation import evaluate

    model = FlowerClassifier.from_pretrained(options.model)
    result = evaluate(model, options.data, Path(options.data_root))
    if options.json:
        print(json.dumps(result, indent=2))
        return 0
    for sentence in result["skipped"]:
        print(f"skipped: {sentence}", file=sys.stderr)
    print(
        f"{result['photos']} photos of {result['classes']} classes, "
        f"{len(result['skipped'])} skipped, answers among {result['labels']} labels\n"
        f"top-1 accuracy      {100 * result['top1']:6.2f} %\n"
        f"top-5 accuracy      {100 * result['top5']:6.2f} %\n"
        f"mean per class      {100 * result['mean_per_class']:6.2f} %\n"
        f"log loss            {result['log_loss']:6.3f}\n"
        f"calibration error   {100 * result['calibration_error']:6.2f} %"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Prints accuracy and calibration of a model on labelled photos.",
    )
    parser.add_argument("model", help="a weights folder or user/repo on the Hub")
    parser.add_argument("data", help="flowers102:test, or a folder of class folders")
    parser.add_argument(
        "--data-root",
        default=os.environ.get("FLOWER_DATA", "data"),
        help="where flowers102 and relative folders lie (default: $FLOWER_DATA or data)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
