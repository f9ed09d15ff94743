"""python app.py: the page on which a photo gets its flower's name."""

import argparse
import os
import signal
import socket
import sys
import time
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flower_model.cli import add_model_argument, run_command
from flower_model.errors import FlowerModelError

if TYPE_CHECKING:
    import gradio as gr


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python app.py", description="Serves the flower page.")
    add_model_argument(parser)
    # Gradio's own variables: a Space sets them to be reachable from outside its container.
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    parser.add_argument("--host", default=host, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="ask Gradio for a public link too")
    parser.add_argument("--auth", metavar="USER:PASS", help="let in only who knows these")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while loading, like Ctrl-C
    return run_command(lambda: serve(options))


def serve(options: argparse.Namespace) -> int:
    """Loads the model and serves its page until interrupted."""
    auth = _credentials(options.auth) if options.auth is not None else None
    _check_address(options.host, options.port)

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read by Gradio when it is imported
    from flower_model.classifier import FlowerClassifier  # seconds: after what can fail at once

    model = FlowerClassifier.from_pretrained(options.model)
    from flower_model.demo import PAGE, build_demo

    folder = Path(options.model)
    demo = build_demo(model, folder.resolve().name if folder.is_dir() else options.model)
    # A flag, not an exception: raised anywhere in a library it might be swallowed, and a second
    # signal would raise again while the page is being closed.
    asked_to_stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked_to_stop.append(number))
    address = {"server_name": options.host, "server_port": options.port}
    _launch(demo, options.share, auth=auth, **address, **PAGE)
    while not asked_to_stop:
        time.sleep(0.1)
    demo.close(verbose=False)
    return 0


def _credentials(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not user or not password:
        raise FlowerModelError("--auth must be USER:PASS, both not empty.")
    return user, password


def _check_address(host: str, port: int | None) -> None:
    """Refuses an address that can't be listened on before the model is loaded for nothing."""
    if port is not None and not 1 <= port <= 65535:
        raise FlowerModelError(f"--port must be between 1 and 65535, not {port}.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FlowerModelError(
            f"Can't listen on {host}{f' port {port}' if port else ''} ({reason}): "
            "choose another --host or --port."
        ) from None


def _launch(demo: "gr.Blocks", share: bool, **launch_options: Any) -> None:
    with ExitStack() as quietly:
        if share:
            print("Asking Gradio for a public link …", flush=True)
            # Gradio reports a failed link in several lines on both streams, and goes on serving.
            quietly.enter_context(redirect_stdout(StringIO()))
            quietly.enter_context(redirect_stderr(StringIO()))
        try:
            demo.launch(share=share, quiet=True, prevent_thread_lock=True, **launch_options)
        except OSError as error:  # no free port
            raise FlowerModelError(f"The page can't be served ({error}).") from None
    print(f"The page is at {demo.local_url} (Ctrl-C stops it).", flush=True)
    if demo.share_url:
        print(f"For a week it is also at {demo.share_url}.", flush=True)
    elif share:
        print(
            "There is no public link, because Gradio's link service can't be reached: "
            "the page is served on this computer only.",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
