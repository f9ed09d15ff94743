"""A page that can be left alone: limits, a health check, and nothing kept that piles up."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio.routes import file_upload_statuses
from limits import RateLimitItem, RateLimitItemPerMinute
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from flower_model.demo.inference import Finder
from flower_model.demo.server.gate import Gate
from flower_model.demo.server.health import Health
from flower_model.demo.server.rate_limits import Visitors
from flower_model.demo.server.refusals import failed, not_understood, refuse
from flower_model.demo.server.request_log import start_logging
from flower_model.demo.server.upload_folder import sweep

GENEROUS = RateLimitItemPerMinute(600)


@dataclass(frozen=True)
class Limits:
    """How much a page takes.

    Attributes:
        queue: Questions that wait at the same time, of all visitors.
        rate: Uploads, and questions, of one visitor in a time.
        everyone: Whether `rate` also holds for visitors on this computer.
        max_bytes: Of all files in one upload.
        keep: Seconds from a photo's coming to its deletion.
    """

    queue: int = 200
    rate: RateLimitItem | None = GENEROUS
    everyone: bool = False
    max_bytes: int = 1_000_000_000
    keep: float = 600


def guard(demo: gr.Blocks, find: Finder, limits: Limits) -> tuple[Gate, dict[str, Any]]:
    """Puts a page under limits.

    Args:
        demo: The page, before its launch.
        find: What the health check asks.
        limits: How much it takes.

    Returns:
        The gate, and what `demo.launch` is to be told: `app_kwargs`.
    """
    demo.queue(max_size=limits.queue, api_open=False)
    asked = demo._queue.pending_event_ids_session
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    gate = Gate(
        folder,
        limits.max_bytes,
        Visitors(limits.rate, limits.everyone),
        lambda name: bool(asked.get(name)) or any(name in ids for ids in list(asked.values())),
    )
    return gate, {
        "app_kwargs": {
            "middleware": [Middleware(gate.middleware)],
            "routes": [Route("/healthz", Health(find, lambda: gate.stopping).answer)],
            "exception_handlers": {
                HTTPException: refuse,
                RequestValidationError: not_understood,
                Exception: failed,
            },
            "lifespan": _tidy(demo, folder, limits.keep),
        }
    }


def _tidy(demo: gr.Blocks, folder: Path, keep: float) -> Callable[[Any], Any]:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        start_logging()  # uvicorn has just set up its own
        own = {path for path in folder.rglob("*") if path.is_file()}  # the page's own pictures

        async def tidy() -> None:
            idle: set[tuple[str, str]] = set()
            while True:
                await asyncio.sleep(keep / 10)
                await asyncio.to_thread(sweep, folder, keep, own)
                idle = _forget(demo, idle)

        task = asyncio.create_task(tidy())
        yield
        task.cancel()

    return lifespan


def _forget(demo: gr.Blocks, idle: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Lets go of what Gradio keeps for ever of a session that has ended and an upload that is done.

    Args:
        demo: The page.
        idle: What was idle the last time; whatever still is goes.

    Returns:
        What is idle now: answers that nobody has fetched are, too.
    """
    asked, running = demo._queue.pending_event_ids_session, demo._queue.event_ids_to_events
    uploads = file_upload_statuses
    now = {("session", name) for name, ids in asked.items() if not ids & running.keys()}
    now |= {("upload", name) for name in {*uploads._signals, *uploads._statuses}}
    for kind, name in now & idle:
        if kind == "session":
            asked.pop(name, None)
            demo._queue.pending_messages_per_session.pop(name, None)
        elif name not in uploads._statuses or uploads.is_done(name):
            uploads._signals.pop(name, None)
            uploads.stop_tracking(name)
    for paths in demo.temp_file_sets:
        paths -= {path for path in list(paths) if not os.path.exists(path)}
    return now - idle
