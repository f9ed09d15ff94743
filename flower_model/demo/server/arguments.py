"""Command-line arguments of `python app.py`, checked before anything slow is imported."""

import argparse
import os
import re
import socket
from importlib.util import find_spec
from typing import Any

from flower_model.cli.common import add_model_argument
from flower_model.errors import FlowerModelError

FIRST_PORT, PORTS = 7860, 100


def page_parser() -> argparse.ArgumentParser:
    """Return the parser of `python app.py`."""
    parser = argparse.ArgumentParser(
        prog="python app.py",
        description="Serve a web page that identifies the flower in a photo.",
        epilog="For a permanent public page, publish it as a Hugging Face Space: "
        "python -m training.publish MODEL user/repo --space user/demo",
    )
    add_model_argument(parser)
    # Gradio's variables: a Space sets the first to be reachable from outside its container.
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    share = os.environ.get("GRADIO_SHARE", "").lower() == "true"
    parser.add_argument(
        "--host",
        type=lambda text: text.strip("[]"),  # an IPv6 address may have brackets
        default=host,
        help="address to listen on; 0.0.0.0 for all devices in your network (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        help=f"port (default: GRADIO_SERVER_PORT, or the first free one from {FIRST_PORT})",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        default=share,
        help="request a public link from Gradio, valid for a week (also: GRADIO_SHARE=true)",
    )
    parser.add_argument("--auth", metavar="USER:PASS", help="require a user name and a password")
    parser.add_argument(
        "--root-path",
        metavar="PATH",
        help="path or URL at which a reverse proxy publishes the page, such as /demo",
    )
    parser.add_argument(
        "--max-size",
        metavar="SIZE",
        default="100mb",
        help="maximum size of an uploaded file, and of a request to /api; files uploaded together "
        "may have ten times that (default: %(default)s)",
    )
    parser.add_argument(
        "--max-queue",
        metavar="N",
        type=int,
        default=200,
        help="requests that may wait; further ones are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        metavar="N/TIME",
        help="requests per client, such as 60/minute, or off "
        "(default: 600/minute, without a limit on this computer)",
    )
    parser.add_argument(
        "--mcp", action="store_true", help="also serve the API as tools of an MCP server"
    )
    return parser


def page_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the checked options of `gr.mount_gradio_app`."""
    if options.mcp and not find_spec("mcp"):
        raise FlowerModelError("--mcp requires the package mcp. Run: pip install 'gradio[mcp]'")
    return {
        "auth": _credentials(options.auth),
        "root_path": _root_path(options.root_path),
    }


def page_limits(options: argparse.Namespace) -> dict[str, Any]:
    """Return the checked arguments of `flower_model.demo.server.rate_limits.Limits`."""
    if options.max_queue < 1:
        raise FlowerModelError(f"--max-queue must be at least 1, not {options.max_queue}.")
    largest = _bytes(options.max_size)
    limits = {"queue": options.max_queue, "max_bytes": 10 * largest, "max_photo_bytes": largest}
    if options.rate is not None:
        limits |= {"rate": _rate(options.rate), "include_local": True}
    return limits


def bind(host: str, port: int | None) -> socket.socket:
    """Bind a socket to the page's address before the model is loaded.

    Args:
        host: Address or host name.
        port: Port; None for GRADIO_SERVER_PORT or else the first free port from `FIRST_PORT`.

    Raises:
        FlowerModelError: If the address or port can't be used.
    """
    variable = os.environ.get("GRADIO_SERVER_PORT", "")
    if port is None and variable:
        if not (variable.isdecimal() and 1 <= int(variable) <= 65535):
            raise FlowerModelError(
                "The environment variable GRADIO_SERVER_PORT must be a port number, "
                f"not '{variable[:50]}'. Correct or unset it."
            )
        port = int(variable)
    if port is not None and not 1 <= port <= 65535:
        raise FlowerModelError(f"--port must be between 1 and 65535, not {port}.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(host, port, error) from None
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else range(port, port + 1)
    for number in ports:
        try:
            return _bind(family, kind, (address[0], number, *address[2:]))
        except OSError as error:
            if number == ports[-1]:
                raise _cannot_listen(host, port, error) from None
    raise AssertionError


def _cannot_listen(host: str, port: int | None, error: Exception) -> FlowerModelError:
    reason = getattr(error, "strerror", None) or error
    return FlowerModelError(
        f"Can't listen on {host}{f' port {port}' if port else ''} ({reason}). "
        "Choose another --host or --port."
    )


def _bind(family: int, kind: int, address: Any) -> socket.socket:
    listener = socket.socket(family, kind)
    try:
        if os.name == "posix":  # on Windows this option would share a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return listener
    except OSError:
        listener.close()
        raise


def _rate(text: str) -> Any:
    if text == "off":
        return None
    from limits import parse

    try:
        rate = parse(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount < 1:
        raise FlowerModelError(f"--rate must be a rate such as 60/minute, or off, not '{text}'.")
    return rate


def _credentials(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    user, _, password = text.partition(":")
    if not user or not password:
        raise FlowerModelError("--auth must be USER:PASS, with neither part empty.")
    return user, password


def _root_path(text: str | None) -> str | None:
    if text is not None and not text.startswith(("/", "http://", "https://")):
        raise FlowerModelError(
            f"--root-path must be a path such as /demo or a full URL, not '{text}'."
        )
    return text


def _bytes(size: str) -> int:
    parts = re.fullmatch(r"0*([1-9]\d*)(kb|mb|gb)", size.lower())
    if not parts:
        raise FlowerModelError(f"--max-size must be a size such as 20mb or 1gb, not '{size}'.")
    return int(parts[1]) * {"kb": 10**3, "mb": 10**6, "gb": 10**9}[parts[2]]
