"""Bulk prediction on a Ray cluster: `python -m flower_model FOLDER --output OUT --engine ray`."""

import argparse
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from flower_model.bulk.inputs import find_units
from flower_model.bulk.output import OutputFolder
from flower_model.bulk.ray_engine import answer_units, connect, find_slots
from flower_model.bulk.units import Unit
from flower_model.bulk.worker import MAX_ERRORS, Job
from flower_model.cli.common import default_model, print_error, print_failures
from flower_model.config import CONFIG_FILE, read_config
from flower_model.errors import FlowerModelError, shorten
from flower_model.loading import find_folder
from flower_model.photos.discovery import describe_skipped
from flower_model.serialization.weights_folder import check_files, model_version


class Stopped(BaseException):
    """A signal to stop; its argument is the signal's number."""


def answer_on_cluster(options: argparse.Namespace) -> int:
    """Predict every photo that has no answer in the output folder yet.

    Args:
        options: Of the command.

    Returns:
        The exit code: 2 if any photo could not be opened, 128 plus the signal's number after a
        signal.

    Raises:
        FlowerModelError: If photos, model, output or cluster can't be used.
    """
    folder = find_folder(options.model or default_model())
    check_files(folder)
    config = read_config(folder / CONFIG_FILE)
    skipped: Counter[str] = Counter()
    units = find_units(options.photos, skipped, options.column)
    if not units:
        notice = describe_skipped(skipped) if +skipped else ""
        names = shorten(", ".join(map(repr, options.photos)), 100)
        raise FlowerModelError(f"No photos found in {names}. {notice}".rstrip())
    output = OutputFolder(options.output)
    job = Job(
        output.name,
        model_version(folder, config),
        min(options.top_k, len(config.labels)),
        cores=1,
        folder=os.getcwd(),
        precision=options.precision,
    )
    with output.prepare(model=job.version, top_k=job.top_k):
        code = _answer(units, output, job, folder, options.cores_per_worker)
    if +skipped:
        print_error(describe_skipped(skipped))
    return code


def _answer(
    units: list[Unit], output: OutputFolder, job: Job, folder: Path, cores: int | None
) -> int:
    todo = output.without_answered(units)
    rows, failures = output.count(output.parts())
    total = rows + sum(unit.count for unit in todo)
    errors: list[str] = []
    if todo:
        is_known = all(unit.count for unit in todo)
        try:
            with (
                _silenced() as terminal,
                connect(),
                _stopping(),
                tqdm(
                    total=total if is_known else None,
                    initial=rows,
                    unit=" photos",
                    disable=None,
                    file=terminal,
                ) as bar,
                closing(answer_units(todo, job, folder, find_slots(cores))) as reports,
            ):
                for report in reports:
                    _check_shared(output, report.part)
                    rows, failures = rows + report.photos, failures + report.failures
                    errors += report.errors
                    bar.update(report.photos)
        except Stopped as signal_:
            print_error(f"Stopped after {rows} photos. Run the same command again to resume.")
            return 128 + int(signal_.args[0])
        except FlowerModelError:
            raise
        except Exception as error:  # noqa: BLE001  # Ray raises all kinds of errors
            reason = shorten(str(error) or type(error).__name__, 150)
            raise FlowerModelError(
                f"Ray stopped after {rows} photos ({reason}). Run the same command again to resume."
            ) from None
    return print_failures(errors[:MAX_ERRORS], failures, output.name)


def _check_shared(output: OutputFolder, part: str) -> None:
    path = Path(output.path(part))
    if Path(output.name).is_dir() and not path.exists():
        raise FlowerModelError(
            f"A worker's answers are not in '{shorten(output.name, 100)}': put --output on storage "
            "that all machines of the cluster share, such as s3://."
        )


@contextmanager
def _stopping() -> Iterator[None]:
    """Raise Stopped at Ctrl-C and SIGTERM; finished units are in their files at any time."""

    def stop(number: int, _: object) -> None:
        raise Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _silenced() -> Iterator[TextIO]:
    """Hide what Ray prints, in Python and in C++, about workers that end; yields the terminal."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with (
            open(os.devnull, "w") as nowhere,
            os.fdopen(os.dup(saved), "w", errors="backslashreplace") as terminal,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            os.dup2(nowhere.fileno(), 2)
            yield terminal
    finally:
        os.dup2(saved, 2)
        os.close(saved)
