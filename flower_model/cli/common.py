"""What the commands share: the model they load by default, and errors told in one sentence."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flower_model.errors import FlowerModelError, ModelError

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights"


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
    """Add `--model`, a weights folder or Hub repository; None stands for `default_model()`."""
    parser.add_argument(
        "--model",
        metavar="DIR|REPO",
        help="weights folder, or user/repo on the Hugging Face Hub (default: the repo's weights/)",
    )


def run_command(command: Callable[[], int]) -> int:
    """Runs a command to its exit code; one that can't go on says why in one line on stderr.

    Returns:
        What `command` returned, 2 after a FlowerModelError, or 130 after Ctrl-C.
    """
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its retries are not our one line
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata that nothing depends on
    try:
        return command()
    except FlowerModelError as error:
        complain(error)
        return 2
    except KeyboardInterrupt:
        return 130


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Notes Ctrl-C and SIGTERM instead of ending in the middle of something; a second one ends it.

    Example:
        >>> with stop_signals() as received:
        ...     for photo in photos:
        ...         ...
        ...         if received:
        ...             return 128 + received[0]
    """
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def complain(error: FlowerModelError | str) -> None:
    """Prints an error on stderr, on one line whatever its message quotes."""
    print(printable(" ".join(str(error).split())), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    r"""The text with what a terminal would obey, in a file's name for instance, as \x1b and the like."""
    return "".join(c if c.isprintable() or c in "\n" else ascii(c)[1:-1] for c in text)
