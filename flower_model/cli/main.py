"""The command `flower-model`: prints the most probable labels of each photo."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flower_model.bulk.shard import Shard
from flower_model.cli.common import (
    add_model_argument,
    default_model,
    escape_unprintable,
    print_error,
    run_command,
)
from flower_model.errors import FlowerModelError, ImageError
from flower_model.photos.discovery import describe_skipped, find_photos

if TYPE_CHECKING:
    from flower_model.classifier import FlowerClassifier
    from flower_model.prediction import Prediction


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code, 2 if any photo could not be opened."""
    parser = argparse.ArgumentParser(
        prog="flower-model", description="Identify the flower in each photo."
    )
    parser.add_argument(
        "photos",
        metavar="PHOTO|FOLDER",
        nargs="+",
        help="image file, or folder to search for photos recursively",
    )
    add_model_argument(parser)
    parser.add_argument("--top-k", type=int, default=5, help="labels per photo (default: 5)")
    parser.add_argument(
        "--group-by",
        choices=["folder"],
        help="one answer for each folder, whose photos show one plant",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--json", action="store_true", help="print one JSON array instead of tables"
    )
    output.add_argument(
        "--output",
        metavar="FILE",
        help="write a .csv, .jsonl or .parquet file instead, and resume it if interrupted",
    )
    add_engine_arguments(parser)
    return run_command(lambda: identify_photos(parser.parse_args(arguments)))


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that distribute --output over processes and machines."""
    group = parser.add_argument_group("many machines", "with --output; see docs/cluster.md")
    group.add_argument(
        "--shard",
        metavar="K/N",
        help="only the K-th of N parts of the photos, in a results file of its own",
    )
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: workers on all machines of a Ray cluster; photos may also be globs, URIs such as "
        "s3://, Parquet and tar files, and --output is a folder or URI for Parquet files",
    )
    group.add_argument(
        "--cores-per-worker",
        metavar="N",
        type=int,
        help="with --engine ray: CPU cores per worker (default: 4, or all if a machine has fewer)",
    )
    group.add_argument(
        "--column", help="with --engine ray: Parquet column of the photos or their paths"
    )


def identify_photos(options: argparse.Namespace) -> int:
    """Predict every photo in the order given; unreadable ones are reported and skipped."""
    if options.top_k < 1:
        raise FlowerModelError(f"--top-k must be at least 1, not {options.top_k}.")
    if options.group_by and options.output:
        raise FlowerModelError("--group-by can't be combined with --output: use --json instead.")
    if options.engine != "ray" and (options.cores_per_worker, options.column) != (None, None):
        raise FlowerModelError("--cores-per-worker and --column require --engine ray.")
    if options.engine == "ray":
        if not options.output or options.shard:
            raise FlowerModelError(
                "--engine ray requires --output FOLDER and can't be combined with --shard."
            )
        from flower_model.cli.cluster import answer_on_cluster

        return answer_on_cluster(options)
    if options.output:
        from flower_model.results.results_file import check_output

        check_output(Path(options.output))
    if options.shard and not options.output:
        raise FlowerModelError("--shard requires --output.")
    shard = Shard.parse(options.shard) if options.shard else None
    skipped: Counter[str] = Counter()
    if next(find_photos(options.photos, skipped), None) is None:
        folders = ", ".join(map(repr, options.photos))
        notice = describe_skipped(skipped) if skipped else ""
        raise FlowerModelError(f"No photos found in {folders}. {notice}".rstrip())
    from flower_model.classifier import FlowerClassifier  # slow to import

    model = FlowerClassifier.from_pretrained(
        options.model or default_model(), precision=options.precision
    )
    if options.output:
        from flower_model.cli.bulk import write_results

        return write_results(
            model, options.photos, Path(options.output), top_k=options.top_k, shard=shard
        )
    try:
        return print_predictions(model, options)
    except BrokenPipeError:  # for example by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def print_predictions(model: "FlowerClassifier", options: argparse.Namespace) -> int:
    """Print a table for each photo or, at the end, one JSON array."""
    entries: list[dict[str, Any]] = []
    failed = False
    skipped: Counter[str] = Counter()
    photos = find_photos(options.photos, skipped)
    with closing(_answers(model, photos, options)) as answers:
        for source, answer, note in answers:
            if isinstance(answer, ImageError):
                failed = True
                print_error(answer)
                entries.append({**source, "error": str(answer)})
            elif options.json:
                entries.append({**source, **answer.to_dict()})
            else:
                print(table(next(iter(source.values())), answer, note), flush=True)
    if options.json:
        print(json.dumps(entries, indent=2), flush=True)
    if skipped:
        print_error(describe_skipped(skipped))
    return 2 if failed else 0


def table(name: str, answer: "Prediction", note: str = "") -> str:
    """Return a photo's name and, on indented lines, its labels, probabilities and a note, escaped."""
    rows = answer.top
    if answer.is_flower is False:  # --json has the labels all the same
        rows = ((answer.answer, 1 - (answer.flower_probability or 0.0)),)
    elif answer.is_known is False:
        rows = ((answer.answer, 1 - (answer.known_probability or 0.0)), *rows)
    elif answer.sure_genus:
        genus, probability = answer.sure_genus
        rows = ((f"genus {genus}", probability), *rows)
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {p:7.2%}" for label, p in rows]
    return "\n  ".join(map(escape_unprintable, [name, *lines, *([note] if note else [])]))


def _answers(
    model: "FlowerClassifier", photos: Iterator[str], options: argparse.Namespace
) -> Generator[tuple[dict[str, Any], "Prediction | ImageError", str]]:
    """Yield the source, answer and note of each photo, or of each folder of photos."""
    if options.group_by:
        from flower_model.cli.plants import predict_folders

        yield from predict_folders(model, list(photos), top_k=options.top_k)
        return
    photos, names = tee(photos)
    with closing(model.predict_stream(photos, top_k=options.top_k)) as stream:
        for name, answer in zip(names, stream, strict=False):  # names ends first
            yield {"photo": name}, answer, ""
