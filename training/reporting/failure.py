"""Failures of reports, which must not end a run whose model is finished."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flower_model.cli.common import print_error
from flower_model.errors import shorten


@contextmanager
def report_failure(name: str) -> Iterator[None]:
    """Print an error that occurs inside, in the part of the report with this name, instead of raising it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, the model is worth more than the report
        with suppress(OSError):  # stderr may be closed as well
            reason = f"{type(error).__name__}: {shorten(error, 150)}"
            print_error(f"{name} failed ({reason}). The model is not affected.")
