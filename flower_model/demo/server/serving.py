"""Running the web server: addresses, public link and graceful shutdown."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from types import FrameType
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.networking import setup_tunnel
from gradio.tunneling import CURRENT_TUNNELS

from flower_model.demo.server.request_filter import RequestFilter

SHUTDOWN_SECONDS = 25.0  # for accepted requests; Kubernetes sends SIGKILL after 30
NO_LINK = (
    "No public link: Gradio's share service can't be reached ({reason}). The page is served at the "
    "address above only. For a permanent public page, publish it as a Space: "
    "python -m training.publish MODEL user/repo --space user/demo"
)


def serve_until_stopped(
    app: FastAPI,
    demo: gr.Blocks,
    request_filter: RequestFilter,
    listener: socket.socket,
    *,
    root_path: str | None = None,
    share: bool = False,
    mcp: bool = False,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Requests accepted before the signal are answered, later ones are refused. A second signal ends
    the server at once.

    Args:
        app: The application.
        demo: The Gradio page in it.
        request_filter: Its filter.
        listener: A bound socket.
        root_path: Path or URL at which a reverse proxy publishes the page.
        share: Also ask Gradio for a public link; a failure is reported and is not an error.
        mcp: Print the address of the MCP server too.
    """

    def announce() -> None:
        for line in _addresses(listener, root_path, mcp):
            print(line, flush=True)
        if share:
            print("Requesting a public link …", flush=True)
            threading.Thread(
                target=_share, args=(demo, request_filter, listener), daemon=True
            ).start()

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,  # open pages keep a connection that never ends
        # In a Space only the Hub's proxy reaches this server.
        forwarded_allow_ips="*" if "SPACE_ID" in os.environ else None,
    )
    try:
        _Server(config, request_filter, announce).run([listener])
    finally:
        with redirect_stdout(StringIO()):  # Gradio prints that it closes a tunnel
            for tunnel in CURRENT_TUNNELS:
                tunnel.kill()  # type: ignore[no-untyped-call]


class _Server(uvicorn.Server):
    """uvicorn, except that a shutdown first waits for results that have not been fetched.

    uvicorn alone closes its port at once, but a Gradio client opens a second connection to fetch
    the result of its request.
    """

    def __init__(
        self, config: uvicorn.Config, request_filter: RequestFilter, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._filter, self._announce = request_filter, announce
        self._deadline = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._filter.shutting_down:
            self.should_exit = True
        self._filter.shutting_down = True
        self._deadline = time.monotonic() + SHUTDOWN_SECONDS

    async def on_tick(self, counter: int) -> bool:
        if self._filter.shutting_down and not (
            self._filter.busy and time.monotonic() < self._deadline
        ):
            self.should_exit = True
        return await super().on_tick(counter)


def _addresses(listener: socket.socket, root_path: str | None, mcp: bool) -> Iterator[str]:
    """Yield the lines that say where the page is."""
    host, port = listener.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")
    page = f"http://{'localhost' if everywhere else f'[{host}]' if ':' in host else host}:{port}/"
    if root_path and "://" in root_path:
        page = root_path.rstrip("/") + "/"
        yield f"The page is at {page} (press Ctrl-C to stop)."
    elif root_path and root_path != "/":
        yield (
            f"The page is served at {root_path.rstrip('/')}/ by your reverse proxy, which must "
            f"forward to {page}"
        )
        page = f"{page.rstrip('/')}{root_path.rstrip('/')}/"
    else:
        yield f"The page is at {page} (press Ctrl-C to stop)."
        if everywhere and (address := _network_address()):
            yield f"From other devices in your network: http://{address}:{port}/"
    if mcp:
        yield f"The MCP server is at {page}gradio_api/mcp/"


def _network_address() -> str | None:
    """Return this computer's address in its network, None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: UDP only looks up the route
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _share(demo: gr.Blocks, request_filter: RequestFilter, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # a failure is many lines
        try:
            address = setup_tunnel(host, port, demo.share_token, None, None)
        except Exception as error:  # noqa: BLE001  # of the network, the service or its program
            if request_filter.shutting_down:  # which ended the tunnel
                return
            first_line = f"{error.__cause__ or error}".strip().partition("\n")[0]
            print(NO_LINK.format(reason=first_line[:100]), file=sys.__stderr__, flush=True)
            return
    link = urlsplit(address)._replace(scheme="https").geturl()
    print(f"Public link, valid for a week: {link}", flush=True)
