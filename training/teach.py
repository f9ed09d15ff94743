"""python -m training.teach MODEL --add NAME PHOTOS --out FOLDER: teach a model new classes in seconds."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.cli.common import escape_unprintable, run_command
from flower_model.errors import DataError, ModelError, shorten
from training.arguments import add_data_root_argument, data_sources, weights_folder

if TYPE_CHECKING:
    from flower_model.teaching.lesson import Lesson


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code (2 for bad input, with a message on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.teach",
        description="Teach a model new classes from a few photos of each, and report by "
        "cross-validation how well it names them and what the known classes lose. The network is not "
        "trained; a row is added to its last layer.",
    )
    parser.add_argument("model", help='a weights folder, or "user/repo" on the Hub')
    parser.add_argument(
        "--add",
        action="append",
        nargs=2,
        default=[],
        metavar=("NAME", "PHOTOS"),
        help="name of a new class, and a folder of photos of it; may be repeated",
    )
    parser.add_argument("--out", help="new folder for the taught model")
    parser.add_argument(
        "--references",
        action="store_true",
        help="write references.safetensors to a weights folder that lacks it, from the training "
        "photos of its run; training.train does that itself",
    )
    parser.add_argument(
        "--data", metavar="PATH", help="for --references: the photos of a run on --data PATH"
    )
    add_data_root_argument(parser)
    return run_command(lambda: _run(parser, parser.parse_args(arguments)))


def format_lesson(lesson: "Lesson") -> str:
    """Format the measurements of a taught class as a few lines of text."""
    from flower_model.teaching.lesson import list_counts

    lines = [f"{lesson.label}: taught from {lesson.photos} photos"]
    if lesson.answers:
        wrong = list_counts(lesson.confused_with)
        text = f"  cross-validated, {lesson.correct} of {len(lesson.answers)} are named correctly"
        lines.append(text + (f"; others are called {wrong}" if wrong else ""))
    if lesson.accepted:
        lines.append(f"  {sum(lesson.accepted)} of {len(lesson.accepted)} are accepted as flowers")
    lost = list_counts(lesson.lost)
    lines.append(
        f"  known classes, cross-validated: {sum(lesson.lost.values())} of {lesson.references} "
        "reference photos get the new name" + (f": {lost}" if lost else "")
    )
    return "\n".join(map(escape_unprintable, lines))


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.references == bool(options.add or options.out):
        parser.error("give --add and --out to teach classes, or --references alone")
    if not options.references and not (options.add and options.out):
        parser.error("--add and --out must be given together")
    return _references(options) if options.references else _teach(options)


def _teach(options: argparse.Namespace) -> int:
    out = Path(options.out)
    if out.exists():
        raise ModelError(f"'{shorten(out)}' exists: name a new folder with --out.")
    classes = {name: _photos(name, folder) for name, folder in options.add}
    if len(classes) < len(options.add):
        raise DataError("Two classes have the same name. Put the photos of a class in one folder.")
    from flower_model import FlowerClassifier
    from flower_model.system.files import atomic_folder
    from flower_model.teaching.teach import Teachable, check_label

    model = FlowerClassifier.from_pretrained(options.model)
    for name in classes:
        check_label(name, model.labels)
    taught = Teachable.load(model)
    for name, photos in classes.items():
        taught = taught.teach(name, photos)
        print(format_lesson(taught.lessons[-1]), flush=True)
    with atomic_folder(out) as folder:
        taught.save(folder)
    print(f"Model saved in {out}.")
    return 0


def _photos(name: str, place: str) -> list[str]:
    from flower_model.photos.discovery import find_photos

    if not Path(place).exists():
        raise DataError(
            f"'{shorten(place)}' for '{shorten(name)}' does not exist: check the path of the "
            "photos."
        )
    photos = list(find_photos([place]))
    if not photos:
        raise DataError(f"The folder '{shorten(place)}' for '{shorten(name)}' contains no photos.")
    return photos


def _references(options: argparse.Namespace) -> int:
    folder = weights_folder(options.model, "given references")
    sources = data_sources(options.data)
    from flower_model import FlowerClassifier
    from training.calibration.recalibrate import load_run_photos  # torch takes seconds to import
    from training.calibration.references import write_references
    from training.engine.inference import unquantized_precision

    model = FlowerClassifier.from_pretrained(folder, precision=unquantized_precision())
    _, train, _ = load_run_photos(model, folder, Path(options.data_root), sources)
    print(f"References of {write_references(model, train, folder)} photos saved in {folder}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
