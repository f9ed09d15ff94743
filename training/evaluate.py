"""python -m training.evaluate MODEL DATA: how good a model is on labelled photos."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flower_model.cli.common import run_command
from flower_model.errors import DataError

if TYPE_CHECKING:
    from flower_model import FlowerClassifier
    from training.data import DecodedPhotos


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (2: bad input, said in one sentence)."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _print(options))


def evaluate(model: "FlowerClassifier", source: str, data_root: Path) -> dict[str, Any]:
    """Measures a model on a source of labelled photos.

    Args:
        model: The model.
        source: "flowers102:test" or another split, or a folder of class folders, whose names
            are matched to the model's labels after the renames of the model's own recipe.
        data_root: Folder that a relative source lies in, unless it exists where the caller stands.

    Returns:
        The figures of `training.metrics.measure`, and photos, classes, labels (their numbers)
        and skipped (a sentence for each photo that does not open).

    Raises:
        FlowerModelError: If model or data are no good, or a class is none of the model's labels.
    """
    from training.forward import answer_photos
    from training.metrics import measure

    here = Path(source.partition(":")[0]).is_dir()
    decoded = decode_source(model, source, Path() if here else data_root)
    logits, _ = answer_photos(model.runtime, decoded, title="evaluating")
    targets = decoded.targets(model.labels)
    return {
        "photos": len(targets),
        "classes": len(set(targets.tolist())),
        "labels": len(model.labels),
        **measure(logits, targets, model.config.temperature),
        "skipped": decoded.skipped,
    }


def decode_source(model: "FlowerClassifier", source: str, data_root: Path) -> "DecodedPhotos":
    """The photos of a source, labelled as the model labels them; `evaluate` tells what a source is.

    Raises:
        DataError: If there is no such source, none of it opens, or the model lacks a label.
    """
    from training.data import decode_photos, resize_side
    from training.recipe import Data
    from training.sources import check_labels, source_photos

    recipe = model.config.details.get("recipe", {})
    # The model's own renames, and its own division of what it was trained and held out from.
    own = {
        k: v
        for k, v in recipe.get("data", {}).items()
        if k in ("rename", "val_fraction", "split_seed")
    }
    data = Data(train=(source,), val=(source,), **own)
    photos = source_photos(source, data_root, data)
    check_labels(photos, source, model.labels)
    decoded = decode_photos(photos, resize_side(model.image_size, model.crop), "decoding")
    if not len(decoded):
        raise DataError(f"None of the {len(photos)} photos of '{source}' can be opened.")
    return decoded


def _print(options: argparse.Namespace) -> int:
    from flower_model import FlowerClassifier

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
