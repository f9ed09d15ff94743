"""What is written down of each request: one line of JSON on stderr, nothing of the photo or its name."""

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

import gradio as gr

from flower_model.errors import FlowerModelError

LOG = logging.getLogger("flower_model.demo")
SORRY = "Something went wrong on our side, not with the photo: try again in a minute."


def start_logging() -> None:
    """Writes the page's log lines, and the web server's own, as JSON on stderr."""
    handler = logging.StreamHandler(sys.__stderr__)  # Gradio's launch is kept silent
    handler.setFormatter(_AsJson())
    for name in (LOG.name, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    LOG.setLevel(logging.INFO)


@dataclass
class Asked:
    """What is known of a question while it is answered: the number of photos in it."""

    photos: int = 0


@contextmanager
def answering(endpoint: str, refuse: Callable[[FlowerModelError], gr.Error]) -> Iterator[Asked]:
    """Logs a question when it is answered, and says what went wrong in one sentence.

    Args:
        endpoint: Its name in the log.
        refuse: Makes what the asker sees of an error; one that nobody foresaw is told as `SORRY`.

    Example:
        >>> with answering("/identify", notice) as asked:
        ...     asked.photos = 1
        ...     answer = model.predict(photo)
    """
    asked, start, outcome = Asked(), time.perf_counter(), {"status": "answered"}
    try:
        yield asked
    except FlowerModelError as error:
        outcome = {"status": "refused", "error": type(error).__name__}
        raise refuse(error) from None
    # What nobody foresaw has any type, and Gradio would show the asker its text or a bare "Error".
    except Exception as error:  # noqa: BLE001  # told as SORRY, and where it arose is in the log
        outcome = {"status": "failed", **_where(error)}
        raise refuse(FlowerModelError(SORRY)) from None
    finally:
        took = round(1000 * (time.perf_counter() - start), 1)
        level = logging.ERROR if outcome["status"] == "failed" else logging.INFO
        tell(level, endpoint=endpoint, **outcome, ms=took, photos=asked.photos)


def tell(level: int, **fields: object) -> None:
    """Writes one line with these fields."""
    LOG.log(level, "", extra={"fields": fields})


def _where(error: BaseException) -> dict[str, str]:
    # Not its message, which may quote a file's name.
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "at": " < ".join(reversed(places))}


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            fields = fields | _where(record.exc_info[1])
        return json.dumps({"time": when, "level": record.levelname.lower(), **fields})
