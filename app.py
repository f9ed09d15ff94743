"""python app.py: the page on which a photo gets its flower's name."""

import argparse
import os
import re
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flower_model.cli.common import add_model_argument, run_command
from flower_model.errors import FlowerModelError
from flower_model.upload_folder import upload_folder

# Read by Gradio when it is imported: nothing is told to its makers, and no statistics are kept of the
# requests, which would cost a pandas table for each.
GRADIO_SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while loading, like Ctrl-C
    return run_command(lambda: serve(options))


def serve(options: argparse.Namespace) -> int:
    """Loads the model and serves its page until interrupted."""
    launch_options, limits = _launch_options(options), _limits(options)
    _check_address(options.host, options.port)
    # Gradio looks at its own page before it says that it is up, and would do so through a proxy.
    own = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY", ""), options.host, "localhost"]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, own))
    if "SPACE_ID" in os.environ:  # there only the Hub's proxy reaches us, and says who asks
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")

    # A page that stops, or sweeps up, would otherwise delete the photos of another on this machine.
    with upload_folder() as uploads:
        os.environ.update(GRADIO_SETTINGS, GRADIO_TEMP_DIR=uploads)
        from flower_model.classifier import FlowerClassifier  # seconds: after what can fail at once

        model = FlowerClassifier.from_pretrained(options.model)
        from flower_model import demo
        from flower_model.system.memory import share_arenas

        share_arenas()
        folder, find = Path(options.model), demo.Finder(model)
        name = folder.resolve().name if folder.is_dir() else options.model
        page = demo.build_demo(model, name, find)
        gate, guarded = demo.guard(page, find, demo.Limits(**limits))
        demo.serve_until_stopped(page, gate, **{**demo.PAGE, **launch_options, **guarded})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python app.py",
        description="Serves the page on which a photo gets its flower's name.",
        epilog="For a permanent public page: "
        "python -m training.publish MODEL user/repo --space user/demo",
    )
    add_model_argument(parser)
    # Gradio's own variables: a Space sets the first to be reachable from outside its container.
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    share = os.environ.get("GRADIO_SHARE", "").lower() == "true"
    parser.add_argument(
        "--host",
        type=lambda text: text.strip("[]"),  # which an IPv6 address may have
        default=host,
        help="address to listen on; 0.0.0.0 is all (default: %(default)s)",
    )
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument(
        "--share",
        action="store_true",
        default=share,
        help="ask Gradio for a public link too, for a week (also: GRADIO_SHARE=true)",
    )
    parser.add_argument("--auth", metavar="USER:PASS", help="let in only who knows these")
    parser.add_argument(
        "--root-path", metavar="PATH", help="where a reverse proxy has put the page, such as /demo"
    )
    parser.add_argument(
        "--max-size", metavar="SIZE", default="100mb", help="largest upload (default: %(default)s)"
    )
    parser.add_argument(
        "--max-queue",
        metavar="N",
        type=int,
        default=200,
        help="how many questions may wait; more are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        metavar="N/TIME",
        help="how often one visitor may ask, such as 60/minute, or off "
        "(default: 600/minute, as often as they like on this computer)",
    )
    parser.add_argument(
        "--mcp", action="store_true", help="be an MCP server too, with the API as its tools"
    )
    return parser


def _launch_options(options: argparse.Namespace) -> dict[str, Any]:
    """What Gradio's launch is told, checked; None leaves a choice to Gradio and its variables."""
    if options.mcp and not find_spec("mcp"):
        raise FlowerModelError("--mcp needs the package mcp: pip install 'gradio[mcp]'.")
    return {
        "server_name": f"[{options.host}]" if ":" in options.host else options.host,
        "server_port": options.port,
        "share": options.share,
        "auth": _credentials(options.auth),
        "root_path": _root_path(options.root_path),
        "max_file_size": _size(options.max_size),
        "mcp_server": options.mcp or None,
    }


def _limits(options: argparse.Namespace) -> dict[str, Any]:
    """What flower_model.demo.Limits is told, checked."""
    if options.max_queue < 1:
        raise FlowerModelError(f"--max-queue must be at least 1, not {options.max_queue}.")
    digits, unit = options.max_size[:-2], options.max_size[-2:].lower()
    largest = int(digits) * {"kb": 10**3, "mb": 10**6, "gb": 10**9}[unit]
    limits = {"queue": options.max_queue, "max_bytes": 10 * largest}
    if options.rate is not None:
        limits |= {"rate": _rate(options.rate), "everyone": True}
    return limits


def _rate(text: str) -> Any:
    if text == "off":
        return None
    from limits import parse

    try:
        rate = parse(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount < 1:
        raise FlowerModelError(f"--rate must be such as 60/minute, or off, not '{text}'.")
    return rate


def _credentials(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    user, _, password = text.partition(":")
    if not user or not password:
        raise FlowerModelError("--auth must be USER:PASS, both not empty.")
    return user, password


def _root_path(text: str | None) -> str | None:
    if text is not None and not text.startswith(("/", "http://", "https://")):
        raise FlowerModelError(
            f"--root-path must be a path such as /demo or a full address, not '{text}'."
        )
    return text


def _size(text: str) -> str:
    if not re.fullmatch(r"0*[1-9]\d*(kb|mb|gb)", text.lower()):
        raise FlowerModelError(f"--max-size must be a size such as 20mb or 1gb, not '{text}'.")
    return text.lower()


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


if __name__ == "__main__":
    sys.exit(main())
