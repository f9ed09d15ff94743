"""What stands before Gradio: routes that nobody needs are closed, and who asks too much is told so."""

import asyncio
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flower_model.demo.server.rate_limits import Visitors
from flower_model.demo.server.refusals import (
    ADDRESS,
    API,
    FILE,
    NO_ANSWER,
    NO_FILE,
    NO_ROOM,
    NOT_HERE,
    NOT_SENT,
    NOT_UNDERSTOOD,
    STOPPING,
    TOO_LONG,
    TOO_SLOW,
    UPLOAD,
    Refused,
    answer,
    too_much,
)
from flower_model.demo.server.request_log import tell

# All that the page, gradio_client, curl and an MCP client use. What else Gradio has, such as its video
# recorder, its proxy, its deep links and its way past the queue, is not there.
OPEN = re.compile(
    r"/(|config/?|info/?|healthz|theme\.css|favicon\.ico|robots\.txt|manifest\.json|pwa_icon(/\d+)?"
    r"|login/?|logout|(assets|static|svelte)/.*"
    r"|gradio_api/(info/?|openapi\.json|app_id/?|user/?|login_check/?|startup-events|theme\.css"
    r"|upload|upload_progress|file=.*|queue/(join|data|status)|call/.*|run/.*|cancel|reset/?"
    r"|heartbeat/[^/]*|mcp(/.*)?))"
)
ASKS = (f"{API}call/", f"{API}queue/join", f"{API}run/", f"{API}mcp", UPLOAD, "/login")
LISTENS = (f"{API}call/", f"{API}queue/data")
QUESTION_BYTES = 4_000_000  # of JSON that names the photos, sent before
MCP_BYTES = 40_000_000  # of JSON that holds photos, as text
SPARE_BYTES = 500_000_000  # that uploads leave free on the disk
SILENCE = 30.0  # seconds in which nothing of an upload comes, until it is given up
FETCHED_WITHIN = 2.0  # seconds after a question, until a program asks for its answer


class Gate:
    """ASGI middleware; one for a page.

    Args:
        folder: Where uploads are kept.
        max_bytes: Of one upload request, all its files together.
        visitors: How often each has asked.
        awaits: Whether an event, or a session, has an answer to come or not fetched yet.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        visitors: Visitors,
        awaits: Callable[[str], bool],
    ) -> None:
        self._folder, self._max_bytes = folder.absolute(), max_bytes
        self._visitors, self._awaits = visitors, awaits
        self._at_work = 0
        self._last_asked = -FETCHED_WITHIN
        self.stopping = False

    def busy(self) -> bool:
        """Whether there are uploads, questions or answers on their way."""
        return bool(self._at_work) or time.monotonic() - self._last_asked < FETCHED_WITHIN

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """The app behind the gate."""

        async def gate(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            start = time.perf_counter()
            try:
                await self._let_in(app, scope, receive, send)
            except Refused as refused:
                (refusal,) = refused.args
                self._log(scope, refusal.status, start)
                await answer(scope["path"], refusal)(scope, receive, send)

        return gate

    async def _let_in(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if not OPEN.fullmatch(path):
            raise Refused(NOT_HERE)
        if path.startswith(FILE) and "://" in path:
            raise Refused(NO_FILE)
        if scope["method"] == "GET" and path.startswith(LISTENS):
            # Gradio would let him wait for ever, or break off in the middle of an answer.
            session = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("session_hash")
            if not self._awaits(session or path.rpartition("/")[2]):
                raise Refused(NO_ANSWER)
        asks = scope["method"] == "POST" and path.startswith(ASKS)
        if asks:
            if self.stopping:
                raise Refused(STOPPING)
            self._visitors.count(scope)
        if scope["method"] == "POST":
            receive = await self._checked(scope, receive)
        if not asks and not path.startswith(LISTENS):
            return await app(scope, receive, send)
        self._at_work += 1
        try:
            await app(scope, receive, send)
        finally:
            self._at_work -= 1
            if asks and not path.startswith(UPLOAD):
                self._last_asked = time.monotonic()

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        """How the app reads the body: an upload within limits, a question that names known photos."""
        path: str = scope["path"]
        if path == UPLOAD:
            length = int(dict(scope["headers"]).get(b"content-length", 0))
            if length > self._max_bytes:
                raise Refused(too_much(self._max_bytes))
            if shutil.disk_usage(self._folder).free < length + SPARE_BYTES:
                raise Refused(NO_ROOM)
            return self._limited(receive)
        mcp = path.startswith(f"{API}mcp")  # holds the photos themselves
        body = await _read(receive, MCP_BYTES if mcp else QUESTION_BYTES)
        if not (mcp or path.startswith("/login")):
            for file in _files(_parse(body)):
                self._check(file)
        return _replay(body, receive)

    def _limited(self, receive: Receive) -> Receive:
        came = 0

        async def limited() -> Message:
            nonlocal came
            # Only for this exception does Gradio delete what it has written so far.
            try:
                message = await asyncio.wait_for(receive(), SILENCE)
            except TimeoutError:
                raise MultiPartException(TOO_SLOW.text) from None
            if message["type"] == "http.disconnect":
                raise MultiPartException(NOT_SENT.text)
            came += len(message.get("body", b""))
            if came > self._max_bytes:
                raise MultiPartException(too_much(self._max_bytes).text)
            return message

        return limited

    def _check(self, file: dict[str, Any]) -> None:
        path = file.get("path")
        if not isinstance(path, str) or "\0" in path:
            raise Refused(NOT_SENT)
        if "://" in path:
            raise Refused(ADDRESS)
        real = os.path.abspath(path)
        if not (Path(real).is_relative_to(self._folder) and os.path.isfile(real)):
            raise Refused(NOT_SENT)

    def _log(self, scope: Scope, status: int, start: float) -> None:
        tell(
            logging.WARNING,
            endpoint=_endpoint(scope["path"]),
            status=status,
            ms=round(1000 * (time.perf_counter() - start), 1),
            visitor=self._visitors.pseudonym(scope),
        )


def _endpoint(path: str) -> str:
    """A path without what a visitor put into it."""
    known = [start for start in (FILE, *ASKS, *LISTENS) if path.startswith(start)]
    return known[0] if known else path if OPEN.fullmatch(path) else "closed"


async def _read(receive: Receive, limit: int) -> bytes:
    body, more = bytearray(), True
    while more:
        try:
            message = await asyncio.wait_for(receive(), SILENCE)
        except TimeoutError:
            raise Refused(TOO_SLOW) from None
        if message["type"] == "http.disconnect":
            raise Refused(NOT_UNDERSTOOD)
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise Refused(TOO_LONG)
    return bytes(body)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(NOT_UNDERSTOOD) from None


def _files(data: Any) -> Iterator[dict[str, Any]]:
    """Whatever in a question names a file."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "path" in value or "meta" in value:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _replay(body: bytes, receive: Receive) -> Receive:
    first = True

    async def replay() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
