"""The web application: the Gradio page, the REST API and the health check behind one filter."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import FastAPI
from gradio.routes import file_upload_statuses
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from flower_model.demo.identifier import PhotoIdentifier
from flower_model.demo.samples import sample_photos
from flower_model.demo.server.health import HealthCheck
from flower_model.demo.server.rate_limits import Limits, RateLimiter
from flower_model.demo.server.refusals import HANDLERS, MCP
from flower_model.demo.server.request_filter import RequestFilter
from flower_model.demo.server.request_log import start_logging
from flower_model.demo.server.rest_api import add_rest_api, authenticator
from flower_model.demo.server.upload_folder import delete_expired
from flower_model.demo.theme import PAGE, STATIC

if TYPE_CHECKING:
    from mcp.server.fastmcp import FastMCP

API_VERSION = "1"
# Seconds between looks at the queue: Gradio's 0.001 takes a tenth of a core all the time.
POLL_SECONDS = 0.01


def create_app(
    demo: gr.Blocks,
    identify: PhotoIdentifier,
    limits: Limits,
    *,
    mcp: bool = False,
    **page_options: Any,
) -> tuple[FastAPI, RequestFilter]:
    """Put a page behind limits and add the endpoints that Gradio lacks.

    Args:
        demo: The page.
        identify: Identifies single photos.
        limits: Limits of the page.
        mcp: Also serve the API as an MCP server.
        page_options: More options of `gr.mount_gradio_app`.

    Returns:
        The application, and the filter that can refuse new requests before a shutdown.
    """
    demo.queue(max_size=limits.queue, api_open=False)
    demo._queue.sleep_when_free = POLL_SECONDS
    # Of a session, only taught classes are kept, some 50 kB each. Gradio's 10,000 take gigabytes.
    demo.state_session_capacity = 100
    folder = Path(os.environ["GRADIO_TEMP_DIR"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    pending = demo._queue.pending_event_ids_session
    request_filter = RequestFilter(
        folder,
        limits,
        RateLimiter(limits.rate, limits.include_local),
        lambda name: bool(pending.get(name)) or any(name in ids for ids in list(pending.values())),
        authenticator(page_options.get("auth"), lambda request: _has_session(app, request)),
    )
    mcp_server = None
    if mcp:
        from flower_model.demo.server.mcp_server import create_mcp_server  # takes a second

        mcp_server = create_mcp_server(identify)
    root_path = (page_options.get("root_path") or "").rstrip("/")
    app = FastAPI(
        title="Flower identification",
        version=API_VERSION,
        docs_url=None,  # FastAPI's own pages load scripts from other servers
        redoc_url=None,
        openapi_url="/api/openapi.json",
        servers=[{"url": root_path}] if root_path else None,
        lifespan=_lifespan(demo, folder, limits.keep_seconds, mcp_server),
        middleware=[Middleware(request_filter.middleware)],
        exception_handlers=HANDLERS,
    )
    health = HealthCheck(identify, lambda: request_filter.shutting_down)
    app.add_route("/healthz", health.respond)
    add_rest_api(app, identify, root_path)
    app.add_route("/manifest.json", partial(_send_file, STATIC / "manifest.json"))
    for sample in sample_photos(identify.model.labels):
        app.add_route(f"/samples/{sample.path.name}", partial(_send_file, sample.path))
    if mcp_server:
        endpoint = mcp_server.streamable_http_app().routes[0]
        for address in (MCP, f"{MCP}/"):
            app.router.routes.append(Route(address, endpoint=endpoint.endpoint))  # type: ignore[attr-defined]  # a Route
    options = {**PAGE, **page_options, "max_file_size": limits.max_photo_bytes}
    gr.mount_gradio_app(app, demo, "/", app_kwargs={"exception_handlers": HANDLERS}, **options)
    return app, request_filter


def _lifespan(
    demo: gr.Blocks, folder: Path, keep_seconds: float, mcp_server: "FastMCP | None"
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        start_logging()
        page_files = {path for path in folder.rglob("*") if path.is_file()}

        async def clean_up() -> None:
            idle: set[tuple[str, str]] = set()
            while True:
                await asyncio.sleep(keep_seconds / 10)
                await asyncio.to_thread(delete_expired, folder, keep_seconds, page_files)
                idle = _release_sessions(demo, idle)

        async with AsyncExitStack() as stack:
            task = asyncio.create_task(clean_up())
            stack.callback(task.cancel)
            if mcp_server:
                await stack.enter_async_context(mcp_server.session_manager.run())
            yield

    return lifespan


async def _send_file(path: Path, request: Request) -> FileResponse:
    return FileResponse(path, headers={"Cache-Control": "max-age=86400"})


def _has_session(app: FastAPI, request: Request) -> bool:
    """Return whether a request carries the cookie of a visitor who has logged in on the page."""
    page: Any = next(route.app for route in app.routes if isinstance(route, Mount))
    names = (f"access-token-{page.cookie_id}", f"access-token-unsecure-{page.cookie_id}")
    return any(request.cookies.get(name) in page.tokens for name in names)


def _release_sessions(demo: gr.Blocks, idle: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Release what Gradio would keep indefinitely of ended sessions and finished uploads.

    Args:
        demo: The page.
        idle: Sessions and uploads that were idle at the previous call; those still idle go.

    Returns:
        Sessions and uploads that are idle now, including results that nobody has fetched.
    """
    pending, running = demo._queue.pending_event_ids_session, demo._queue.event_ids_to_events
    uploads = file_upload_statuses
    now = {("session", name) for name, ids in pending.items() if not ids & running.keys()}
    now |= {("upload", name) for name in {*uploads._signals, *uploads._statuses}}
    for kind, name in now & idle:
        if kind == "session":
            pending.pop(name, None)
            demo._queue.pending_messages_per_session.pop(name, None)
        elif name not in uploads._statuses or uploads.is_done(name):
            uploads._signals.pop(name, None)
            uploads.stop_tracking(name)
    for paths in demo.temp_file_sets:
        paths -= {path for path in list(paths) if not os.path.exists(path)}
    return now - idle
