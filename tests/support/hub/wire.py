"""The HTTP server of the loopback Hub, with fault injection."""

import os
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.hub.access import authenticate
from tests.support.hub.messages import Answer, HubError, Request, refusal
from tests.support.hub.protocol import answer

if TYPE_CHECKING:
    from tests.support.hub import HubServer

CHUNK = 16 * 1024


@dataclass
class Fault:
    """A fault for the next `times` requests with this method whose path contains `path`."""

    method: str
    path: str
    times: int
    status: int | None = None
    after: int = 0
    reset: bool = False


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, hub: "HubServer", port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hub = hub
        self.connections: set[socket.socket] = set()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):  # the client closed it first
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback unless the client merely disconnected."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing; requests are in `hub.log`."""

    def _serve(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        request = Request(self.command, url.path, query, self.headers)
        hub.log.append(request)
        fault = hub.fault_for(request.method, unquote(request.path))
        cut = fault if fault and fault.status is None else None
        length = int(self.headers.get("Content-Length", 0))
        if cut and (cut.after == 0 or request.method != "GET"):
            self.rfile.read(min(cut.after, length))
            return self._cut(cut)
        request.body = self._receive(length)
        if len(request.body) < length:  # the client disconnected
            self.close_connection = True
            return
        try:
            if fault and fault.status:
                raise HubError(fault.status, "Refused by the test")
            request.user = authenticate(hub, request)
            with hub.lock:
                result = answer(hub, request)
        except HubError as error:
            result = refusal(error)
        request.body, request.status, request.file = b"", result.status, result.file
        self._send(request, result, cut)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _receive(self, length: int) -> bytes:
        body = bytearray()
        while chunk := self.rfile.read(min(CHUNK, length - len(body))):
            body += chunk
            if self.command == "PUT":
                self._pace(len(chunk))
        return bytes(body)

    def _send(self, request: Request, result: Answer, cut: Fault | None) -> None:
        body, status, headers = result.body, result.status, dict(result.headers)
        if result.file and "Range" in request.headers:
            first, size = request.first_byte, len(body)
            status = request.status = 206 if first < size else 416
            headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
            body = body[first:]
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if request.method == "HEAD":
            return
        end = min(cut.after, len(body)) if cut else len(body)
        for start in range(0, end, CHUNK):
            chunk = body[start : min(start + CHUNK, end)]
            self.wfile.write(chunk)
            if result.file:
                self._pace(len(chunk))
        if cut:
            self._cut(cut)

    def _pace(self, size: int) -> None:
        if rate := self.server.hub.bytes_per_second:
            time.sleep(size / rate)

    def _cut(self, cut: Fault) -> None:
        self.close_connection = True
        with suppress(OSError):  # the client closed it first
            if cut.reset:  # closing with a linger time of 0 sends RST
                at_once = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                os.close(self.connection.detach())
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
