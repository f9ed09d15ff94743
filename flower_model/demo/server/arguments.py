"""The arguments of `python app.py`, checked before anything slow is imported."""

import argparse
import os
import re
import socket
from importlib.util import find_spec
from typing import Any

from flower_model.cli.common import add_model_argument
from flower_model.errors import FlowerModelError


def page_parser() -> argparse.ArgumentParser:
    """Of `python app.py`."""
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


def launch_options(options: argparse.Namespace) -> dict[str, Any]:
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


def page_limits(options: argparse.Namespace) -> dict[str, Any]:
    """What flower_model.demo.server.guard.Limits is told, checked."""
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


def check_address(host: str, port: int | None) -> None:
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
