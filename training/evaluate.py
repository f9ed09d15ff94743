"""python -m training.evaluate MODEL DATA…: accuracy and calibration on labelled photos."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from flower_model.cli.common import print_error, run_command
from flower_model.errors import DataError
from training.arguments import add_data_root_argument
from training.data.folders import HUB_PREFIX


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code (2 for bad input, with a message on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Print the accuracy and the calibration of a model on labelled photos. "
        "FOLDER:train, FOLDER:val and FOLDER:test are the splits of a folder. If it has no folder for "
        "validation, FOLDER:val is the part that the model's run held out and FOLDER:train the rest. "
        "FOLDER alone is all of its photos, including those that the model was trained on.",
    )
    parser.add_argument("model", help="a weights folder, or user/repo on the Hub")
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="DATA",
        help="flowers102:test, FOLDER:val, FOLDER or hf://datasets/user/name:test; several are printed "
        "as one table",
    )
    parser.add_argument(
        "--data", metavar="PATH", help="the same as DATA, for the --data of training.train"
    )
    add_data_root_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return run_command(lambda: _evaluate(parser.parse_args(arguments)))


def _evaluate(options: argparse.Namespace) -> int:
    sources = list(options.sources)
    if options.data:
        is_path = not options.data.startswith(HUB_PREFIX)
        sources.append(str(Path(options.data).expanduser().absolute()) if is_path else options.data)
    if not sources:
        raise DataError("Name the photos, such as flowers102:test or a folder of class folders.")
    from flower_model import FlowerClassifier  # torch takes seconds to import
    from training.data.training_record import load_record
    from training.reporting.evaluation import evaluate, format_table

    model = FlowerClassifier.from_pretrained(options.model)
    record, root = load_record(Path(options.model)), Path(options.data_root)
    rows = [evaluate(model, source, root, record) for source in sources]
    for row in rows:
        for sentence in row["skipped"]:
            print_error(f"skipped: {sentence}")
        if row["trained_on"]:
            print_error(
                f"Warning: the model was trained on {row['trained_on']} of the {row['photos']} photos of "
                f"'{row['source']}', so these figures are too high. For held-out photos only, use "
                "FOLDER:val."
            )
    if options.json:
        print(json.dumps(rows[0] if len(rows) == 1 else rows, indent=2))
    else:
        print(_format(rows[0]) if len(rows) == 1 else format_table(rows))
    return 0


def _format(row: dict[str, Any]) -> str:
    def interval(key: str) -> str:
        low, high = row["intervals"][key]
        return f"{100 * row[key]:6.2f} %  ({100 * low:.1f} to {100 * high:.1f})"

    return (
        f"{row['photos']} photos of {row['classes']} classes, {len(row['skipped'])} skipped, "
        f"{row['labels']} labels\n"
        f"top-1 accuracy      {interval('top1')}\n"
        f"top-5 accuracy      {interval('top5')}\n"
        f"mean per class      {100 * row['mean_per_class']:6.2f} %\n"
        f"log loss            {row['log_loss']:6.3f}\n"
        f"calibration error   {interval('calibration_error')}\n"
        f"95 % bootstrap confidence intervals in parentheses, resampling {row['resampled']}"
    )


if __name__ == "__main__":
    sys.exit(main())
