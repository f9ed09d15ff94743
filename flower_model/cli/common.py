"""Helpers that all commands share: the default model, error messages and signals."""

import argparse
import atexit
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flower_model.errors import FlowerModelError, ModelError, is_printable

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights"
PRECISIONS = ("auto", "int8", "bf16", "fp32")  # runtimes.base.Precision, which imports NumPy


def default_model() -> str:
    """Return the weights folder beside the code or, in a Space, the model its README.md names.

    Raises:
        ModelError: If there is neither, as for an installed package.
    """
    readme = ROOT / "README.md"
    if WEIGHTS.is_dir():
        return str(WEIGHTS)
    if readme.is_file():
        from huggingface_hub import metadata_load

        for model in (metadata_load(readme) or {}).get("models", []):
            return str(model)
    raise ModelError("No model given: pass --model with a weights folder or a Hub id (user/repo).")


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, where None stands for `default_model()`, and `--precision`."""
    parser.add_argument(
        "--model",
        metavar="DIR|REPO",
        help="weights folder, or user/repo on the Hugging Face Hub (default: the repo's weights/)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="precision of the network (default: the fastest that this computer and the model "
        "support)",
    )


def run_command(command: Callable[[], int]) -> int:
    """Run a command and print its FlowerModelError, if any, as one line on stderr.

    Returns:
        The exit code: the one that `command` returned, 2 after an error, or 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whose encoding may lack characters
            stream.reconfigure(errors="backslashreplace")
    # Python's last search for unused objects, among all of PyTorch's, takes up to two seconds.
    atexit.register(gc.freeze)
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # or it logs every retry
    try:
        return command()
    except FlowerModelError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        return 130


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Record Ctrl-C and SIGTERM for a graceful stop; the second signal has its usual effect.

    Example:
        >>> with stop_signals() as received:
        ...     for photo in photos:
        ...         ...
        ...         if received:
        ...             break
    """
    received: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def record(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, record)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def print_failures(errors: Sequence[object], failures: int, output: object) -> int:
    """Print why photos of a bulk run could not be opened, or their number if some reasons are missing.

    Returns:
        The exit code of the run: 2 if any photo could not be opened.
    """
    for error in errors:
        print_error(str(error))
    if failures > len(errors):
        print_error(f"{failures} photos could not be opened: see column 'error' of '{output}'.")
    return 2 if failures else 0


def print_error(error: FlowerModelError | str) -> None:
    """Print an error or a notice as a single line on stderr."""
    print(escape_unprintable(" ".join(str(error).split())), file=sys.stderr, flush=True)


def escape_unprintable(text: str) -> str:
    r"""Escape control characters and line breaks, which file names may hold, as \x1b, \n and the like."""
    return "".join(c if is_printable(c) else ascii(c)[1:-1] for c in text)
