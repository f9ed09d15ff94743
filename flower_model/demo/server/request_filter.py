"""ASGI middleware in front of Gradio: closes unused routes, limits requests, checks file paths."""

import asyncio
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flower_model.demo.server import refusals
from flower_model.demo.server.rate_limits import Limits, RateLimiter
from flower_model.demo.server.refusals import API, FILE, MCP, REST, UPLOAD, Refusal, Refused
from flower_model.demo.server.request_log import log_event
from flower_model.demo.theme import STATIC

# Everything that the page, gradio_client, curl and MCP clients use. Gradio's other routes (video
# recorder, proxy, deep links, calls past the queue) do not exist on this server.
OPEN_ROUTES = re.compile(
    r"/(|config/?|info/?|healthz|theme\.css|favicon\.ico|robots\.txt|manifest\.json|pwa_icon(/\d+)?"
    r"|login/?|logout|(assets|static|svelte|samples)/.*|api(/.*)?"
    r"|gradio_api/(info/?|openapi\.json|app_id/?|user/?|login_check/?|theme\.css"
    r"|upload|upload_progress|file=.*|queue/(join|data|status)|call/.*|run/.*|cancel|reset/?"
    r"|heartbeat/[^/]*|mcp/?))"
)
LIMITED = (f"{API}call/", f"{API}queue/join", f"{API}run/", MCP, REST, UPLOAD, "/login")
RESULTS = (f"{API}call/", f"{API}queue/data")
BY_THE_PAGE = (UPLOAD, f"{API}queue/join")  # for visitors and clients that have logged in
MAX_REQUEST_BYTES = 1_000_000  # of JSON that refers to uploaded photos; 500 take some 350 kB
MAX_OTHER_BYTES = 10_000  # of JSON that refers to none
MAX_MCP_BYTES = 40_000_000  # of JSON that contains base64-encoded photos
MIN_FREE_BYTES = 500_000_000  # that an upload leaves on the disk
CHECK_BYTES = 10_000_000  # of an upload, between checks of the free disk space
STALL_SECONDS = 30.0  # without data, after which an upload is cancelled
MIN_RATE = 1_000  # bytes per second of an upload that takes longer
FETCH_SECONDS = 2.0  # in which a client asks for the result of its request
LOGIN_PAGE = (STATIC / "login.html").read_text(encoding="utf-8")  # in place of Gradio's
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


@dataclass(eq=False)
class RequestFilter:
    """Middleware state of one page.

    Attributes:
        folder: Upload folder, as an absolute path.
        limits: Limits of the page.
        limiter: Counts requests.
        has_result: Returns whether an event or session has a result that was not fetched yet.
        is_authorized: Returns whether a request may use the page, the REST API and the MCP server.
        shutting_down: Whether new requests are refused.
    """

    folder: Path
    limits: Limits
    limiter: RateLimiter
    has_result: Callable[[str], bool]
    is_authorized: Callable[[Request], bool]
    shutting_down: bool = False
    _active: int = 0
    _rest_active: int = 0
    _last_request: float = -FETCH_SECONDS

    @property
    def busy(self) -> bool:
        """True while requests are being processed or results are about to be fetched."""
        return bool(self._active) or time.monotonic() - self._last_request < FETCH_SECONDS

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wrap an ASGI app."""

        async def filtered(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            start, send = time.perf_counter(), _with_headers(send)
            try:
                await self._forward(app, scope, receive, send)
            except Refused as refused:
                (refusal,) = refused.args
                self._log(scope, refusal.status, start)
                await refusals.respond(scope["path"], refusal)(scope, receive, send)

        return filtered

    async def _forward(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if not OPEN_ROUTES.fullmatch(path):
            raise Refused(refusals.NOT_FOUND)
        if path.startswith(FILE) and "://" in path:
            raise Refused(refusals.FILE_GONE)
        if scope["method"] == "GET" and path.startswith(RESULTS):
            # Gradio would let the client wait indefinitely.
            session = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("session_hash")
            if not self.has_result(session or path.rpartition("/")[2]):
                raise Refused(refusals.RESULT_GONE)
        if scope["method"] == "GET" and path == "/" and not self.is_authorized(Request(scope)):
            return await HTMLResponse(LOGIN_PAGE)(scope, receive, send)
        limited = scope["method"] == "POST" and path.startswith(LIMITED)
        if limited:
            if self.shutting_down:
                raise Refused(refusals.SHUTTING_DOWN)
            self.limiter.count(scope)
            if path.startswith((REST, MCP)) and not self.is_authorized(Request(scope)):
                # The page asks for text/html; see `add_rest_api`.
                is_page = "text/html" in Request(scope).headers.get("accept", "")
                raise Refused(refusals.SESSION_EXPIRED if is_page else refusals.UNAUTHORIZED)
            if path in BY_THE_PAGE and not self.is_authorized(Request(scope)):
                raise Refused(refusals.SESSION_EXPIRED)  # Gradio's answer is a JSON object
        if scope["method"] == "POST":
            receive = await self._check_body(scope, receive)
        if not limited and not path.startswith(RESULTS):
            return await app(scope, receive, send)
        rest = path.startswith((REST, MCP))
        if rest and self._rest_active >= self.limits.queue:
            raise Refused(refusals.BUSY)
        self._active += 1
        self._rest_active += rest
        try:
            await app(scope, receive, send)
        finally:
            self._active -= 1
            self._rest_active -= rest
            if limited and path.startswith((f"{API}call/", f"{API}queue/join")):
                self._last_request = time.monotonic()

    async def _check_body(self, scope: Scope, receive: Receive) -> Receive:
        """Return a `receive` that limits an upload, or replays a request that passed the checks."""
        path: str = scope["path"]
        if path == UPLOAD or path.startswith(REST):
            length = dict(scope["headers"]).get(b"content-length", b"0")
            size = int(length) if length.isdigit() else 0
            limit = self.limits.max_bytes if path == UPLOAD else self.limits.max_photo_bytes
            if size > limit:
                raise Refused(refusals.upload_too_large(limit))
            if not self._has_room(size):
                raise Refused(refusals.DISK_FULL)
            error = _gradio_error if path == UPLOAD else Refused
            return self._limit_body(receive, limit, refusals.upload_too_large(limit), error)
        mcp = path.startswith(MCP)
        limit = MAX_REQUEST_BYTES if path.startswith(LIMITED) else MAX_OTHER_BYTES
        limit = MAX_MCP_BYTES if mcp else limit
        limited = self._limit_body(receive, limit, refusals.REQUEST_TOO_LONG, Refused)
        body = await Request(scope, limited).body()
        if not (mcp or path.startswith("/login")):
            try:
                content = json.loads(body)
            except (ValueError, RecursionError):
                raise Refused(refusals.INVALID_REQUEST) from None
            for file in _file_references(content):
                self._check_path(file)
        return _replay(body, receive)

    def _has_room(self, size: int) -> bool:
        return shutil.disk_usage(self.folder).free >= size + MIN_FREE_BYTES

    def _limit_body(
        self, receive: Receive, limit: int, too_long: Refusal, error: Callable[[Refusal], Exception]
    ) -> Receive:
        start, received = time.monotonic(), 0

        async def limited() -> Message:
            nonlocal received
            try:
                message = await asyncio.wait_for(receive(), STALL_SECONDS)
            except TimeoutError:
                raise error(refusals.UPLOAD_STALLED) from None
            if message["type"] == "http.disconnect":
                raise error(refusals.NO_PHOTO)
            before, received = received, received + len(message.get("body", b""))
            if received > limit:
                raise error(too_long)
            seconds = time.monotonic() - start
            if seconds > STALL_SECONDS and received < MIN_RATE * seconds:
                raise error(refusals.UPLOAD_TOO_SLOW)
            # Other uploads may have filled the disk, or the client has not said how long this one is.
            if received // CHECK_BYTES > before // CHECK_BYTES and not self._has_room(0):
                raise error(refusals.DISK_FULL)
            return message

        return limited

    def _check_path(self, file: dict[str, Any]) -> None:
        path = file.get("path")
        if not isinstance(path, str) or "\0" in path:
            raise Refused(refusals.NO_PHOTO)
        if "://" in path:
            raise Refused(refusals.URL_NOT_FETCHED)
        real = os.path.abspath(path)
        if not (Path(real).is_relative_to(self.folder) and os.path.isfile(real)):
            raise Refused(refusals.NO_PHOTO)

    def _log(self, scope: Scope, status: int, start: float) -> None:
        log_event(
            logging.WARNING,
            endpoint=_endpoint(scope["path"]),
            status=status,
            ms=round(1000 * (time.perf_counter() - start), 1),
            visitor=self.limiter.pseudonym(scope),
        )


def _endpoint(path: str) -> str:
    """Return a path without the part that the client chose."""
    known = [start for start in (FILE, *LIMITED, *RESULTS) if path.startswith(start)]
    return known[0] if known else path if OPEN_ROUTES.fullmatch(path) else "closed"


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return send_with_headers


def _gradio_error(refusal: Refusal) -> MultiPartException:
    # The only exception for which Gradio deletes what it has written so far.
    return MultiPartException(refusal.text)


def _file_references(data: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a request that refers to a file."""
    pending = [data]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "path" in value or "meta" in value:
                yield value
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _replay(body: bytes, receive: Receive) -> Receive:
    first = True

    async def replay() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
