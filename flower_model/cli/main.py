"""flower-model PHOTO|FOLDER…: the most probable names of each photo."""

import argparse
import json
import os
import sys
from contextlib import closing
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flower_model.cli.common import (
    add_model_argument,
    complain,
    default_model,
    printable,
    run_command,
)
from flower_model.errors import FlowerModelError, ImageError
from flower_model.photos.discovery import find_photos

if TYPE_CHECKING:
    from flower_model.classifier import FlowerClassifier
    from flower_model.prediction import Prediction


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code, 2 if any photo could not be opened."""
    parser = argparse.ArgumentParser(
        prog="flower-model", description="Names the flower in each photo."
    )
    parser.add_argument(
        "photos",
        metavar="PHOTO|FOLDER",
        nargs="+",
        help="an image file, or a folder for all photos in it, at any depth",
    )
    add_model_argument(parser)
    parser.add_argument("--top-k", type=int, default=5, help="names a photo (default: 5)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON array instead")
    form.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write a .csv, .jsonl or .parquet file instead; if it was stopped, go on with it",
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: name_photos(options))


def name_photos(options: argparse.Namespace) -> int:
    """Answers for every photo, in the order given; a bad one does not stop the rest."""
    if options.top_k < 1:
        raise FlowerModelError(f"--top-k must be at least 1, not {options.top_k}.")
    if options.output:
        from flower_model.results.results_file import check_output

        check_output(options.output)
    if next(find_photos(options.photos), None) is None:
        raise FlowerModelError(f"There is no photo in {', '.join(map(repr, options.photos))}.")
    from flower_model.classifier import FlowerClassifier  # only once there is work

    model = FlowerClassifier.from_pretrained(options.model or default_model())
    if options.output:
        from flower_model.cli.bulk import answer_to_file

        return answer_to_file(model, options.photos, options.output, top_k=options.top_k)
    try:
        return print_answers(model, options)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def print_answers(model: "FlowerClassifier", options: argparse.Namespace) -> int:
    """Prints a table for each photo or, when all are answered, one JSON array."""
    entries: list[dict[str, Any]] = []
    failed = False
    photos, names = tee(find_photos(options.photos))
    with closing(model.predict_stream(photos, top_k=options.top_k)) as stream:
        for photo, answer in zip(names, stream, strict=False):  # names ends first
            if isinstance(answer, ImageError):
                failed = True
                complain(answer)
            elif not options.json:
                _say(_table(photo, answer))
            if options.json:
                entries.append({"photo": photo} | _entry(answer))
    if options.json:
        _say(json.dumps(entries, indent=2))
    return 2 if failed else 0


def _entry(answer: "Prediction | ImageError") -> dict[str, Any]:
    if isinstance(answer, ImageError):
        return {"error": str(answer)}
    return {
        "is_flower": answer.is_flower,
        "flower_probability": answer.flower_probability,
        "top": [{"label": label, "probability": p} for label, p in answer.top],
    }


def _table(photo: str, answer: "Prediction") -> str:
    rows = answer.top
    if answer.is_flower is False:  # what it would be if it were one, --json tells
        rows = (("no flower here", 1 - (answer.flower_probability or 0.0)),)
    width = max(len(name) for name, _ in rows)
    return "\n".join([photo, *(f"  {name:<{width}}  {p:7.2%}" for name, p in rows)])


def _say(text: str) -> None:
    # A file name need not be valid text in the terminal's encoding; that must not stop the answer.
    encoding = sys.stdout.encoding or "utf-8"
    text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    print(text, flush=True)
