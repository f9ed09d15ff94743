"""python -m flower_model PHOTO…: the most probable names of each photo."""

import argparse
import json
import os
import sys
from typing import Any

from flower_model.cli import add_model_argument, complain, run_command
from flower_model.errors import FlowerModelError, ImageError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code, 2 if any photo could not be opened."""
    parser = argparse.ArgumentParser(
        prog="python -m flower_model", description="Names the flower in each photo."
    )
    parser.add_argument("photos", metavar="PHOTO", nargs="+", help="an image file")
    add_model_argument(parser)
    parser.add_argument("--top-k", type=int, default=5, help="names a photo (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON array instead")
    options = parser.parse_args(arguments)
    return run_command(lambda: name_photos(options))


def name_photos(options: argparse.Namespace) -> int:
    """Answers for every photo, in the order given; a bad one does not stop the rest."""
    if options.top_k < 1:
        raise FlowerModelError(f"--top-k must be at least 1, not {options.top_k}.")
    from flower_model.classifier import FlowerClassifier  # seconds: only once there is work

    model = FlowerClassifier.from_pretrained(options.model)
    answers: list[dict[str, Any]] = []
    for photo in options.photos:
        try:
            top = model.predict(photo, top_k=options.top_k).top
        except ImageError as error:
            complain(error)
            answers.append({"photo": photo, "error": str(error)})
            continue
        answers.append(
            {"photo": photo, "top": [{"label": name, "probability": p} for name, p in top]}
        )
        if not options.json:
            _say(_table(photo, top))
    if options.json:
        _say(json.dumps(answers, indent=2))
    return 2 if any("error" in answer for answer in answers) else 0


def _table(photo: str, top: tuple[tuple[str, float], ...]) -> str:
    width = max(len(name) for name, _ in top)
    return "\n".join([photo, *(f"  {name:<{width}}  {p:7.2%}" for name, p in top)])


def _say(text: str) -> None:
    # A file name need not be valid text in the terminal's encoding; that must not stop the answer.
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
