"""Request log: one JSON line per request on stderr, without photos, file names or addresses."""

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flower_model.errors import FlowerModelError

LOG = logging.getLogger("flower_model.demo")
INTERNAL_ERROR = "Something went wrong on the server. Try again in a minute."


@dataclass
class RequestRecord:
    """Fields of a log line that may be known only while the request runs."""

    photos: int


@contextmanager
def log_request(
    endpoint: str, client_error: Callable[[FlowerModelError], Exception], photos: int = 0
) -> Iterator[RequestRecord]:
    """Log one request and turn its errors into errors for the client.

    Args:
        endpoint: Name of the endpoint in the log.
        client_error: Converts an error into the exception to raise; an unexpected error reaches it
            as `INTERNAL_ERROR`.
        photos: Number of photos, unless only the request itself can count them.

    Example:
        >>> with log_request("/identify", notice, photos=1):
        ...     answer = model.predict(photo)
    """
    record, start, outcome = RequestRecord(photos), time.perf_counter(), {"status": "answered"}
    try:
        yield record
    except FlowerModelError as error:
        outcome = {"status": "refused", "error": type(error).__name__}
        raise client_error(error) from None
    # Unexpected errors have any type, and Gradio would show the client their text.
    except Exception as error:  # noqa: BLE001  # the client gets INTERNAL_ERROR, the log the place
        outcome = {"status": "failed", **_location(error)}
        raise client_error(FlowerModelError(INTERNAL_ERROR)) from None
    finally:
        elapsed = round(1000 * (time.perf_counter() - start), 1)
        level = logging.ERROR if outcome["status"] == "failed" else logging.INFO
        log_event(level, endpoint=endpoint, **outcome, ms=elapsed, photos=record.photos)


def log_event(level: int, **fields: object) -> None:
    """Write one line with these fields."""
    LOG.log(level, "", extra={"fields": fields})


def start_logging() -> None:
    """Send the page's log and uvicorn's errors to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(_JsonFormatter())
    for name, level in ((LOG.name, logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        timestamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            fields = fields | _location(record.exc_info[1])
        return json.dumps({"time": timestamp, "level": record.levelname.lower(), **fields})


def _location(error: BaseException) -> dict[str, str]:
    # Without the error's message, which may quote a file name.
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "at": " < ".join(reversed(places))}
