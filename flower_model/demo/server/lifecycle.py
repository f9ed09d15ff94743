"""A page being served: where it is said to be, its public link, and its end."""

import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import gradio as gr
import httpx
from gradio.tunneling import CURRENT_TUNNELS

from flower_model.demo.server.gate import Gate
from flower_model.errors import FlowerModelError

NO_LINK = (
    "There is no public link, because Gradio's link service can't be reached: the page is served "
    "at the address above only; for a permanent public page, publish it as a Space: "
    "python -m training.publish MODEL user/repo --space user/demo"
)


GRACE = 25.0  # seconds to answer what was asked; Kubernetes kills after 30


def serve_until_stopped(
    demo: gr.Blocks, gate: Gate, *, share: bool = False, **launch_options: Any
) -> None:
    """Launches a page, tells its addresses, and returns after Ctrl-C or SIGTERM.

    What was asked before the signal is answered, what comes after it refused. A second signal ends
    it at once.

    Args:
        demo: The page.
        gate: What stands before it.
        share: Ask Gradio for a public link too; that there is none is told, and no error.
        launch_options: More of what `demo.launch` takes.

    Raises:
        FlowerModelError: If no port is free, or the page can't be reached there.
    """
    # A flag, not an exception: raised anywhere in a library it might be swallowed, and a second
    # signal would raise again while the page is being closed.
    asked_to_stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked_to_stop.append(number))
    try:
        _launch(demo, asked_to_stop, {"share": share, **launch_options})
        while not asked_to_stop:
            time.sleep(0.1)
        gate.stopping = True
        latest = time.monotonic() + GRACE
        while gate.busy() and time.monotonic() < latest and len(asked_to_stop) == 1:
            time.sleep(0.05)
    finally:
        with redirect_stdout(StringIO()):  # Gradio tells that it ends a tunnel
            demo.close(verbose=False)
            for tunnel in CURRENT_TUNNELS:
                tunnel.kill()


def _launch(demo: gr.Blocks, asked_to_stop: Sequence[int], options: dict[str, Any]) -> None:
    launched: Future[Any] = Future()

    def launch() -> None:
        try:
            launched.set_result(demo.launch(quiet=True, prevent_thread_lock=True, **options))
        # Not caught, any error would end this thread only, and leave the main one waiting below.
        except BaseException as error:  # noqa: BLE001  # which raises it from the future
            launched.set_exception(error)

    terminal, told = sys.stdout, False
    # Gradio reports a failed link in several lines on both streams, and goes on serving.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        # In a thread, because it can take a minute until there is a link or none, and nothing
        # could interrupt it.
        threading.Thread(target=launch, daemon=True).start()
        while not (launched.done() or asked_to_stop):
            if demo.share and not told:  # it is up, and only the link is missing
                _tell(demo, terminal)
                print("Asking Gradio for a public link …", file=terminal, flush=True)
                told = True
            time.sleep(0.05)
    if asked_to_stop:
        return
    try:
        launched.result()
    except (OSError, httpx.HTTPError) as error:  # the latter when Gradio can't reach its own page
        raise FlowerModelError(f"The page can't be served ({error}).") from None
    if not told:
        _tell(demo, terminal)
    if demo.share_url:
        print(f"For a week it is also at {demo.share_url}", flush=True)
    elif options["share"]:
        print(NO_LINK, file=sys.stderr, flush=True)


def _tell(demo: gr.Blocks, terminal: Any) -> None:
    print(f"The page is at {demo.local_url} (Ctrl-C stops it).", file=terminal, flush=True)
    if demo.mcp_server:
        address = f"{demo.local_url}gradio_api/mcp/"
        print(f"As an MCP server it is at {address}", file=terminal, flush=True)
