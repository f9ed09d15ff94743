"""Refused requests: each gets one sentence that says what to do, and nothing about the server."""

from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from flower_model.demo.server.request_log import INTERNAL_ERROR

API = "/gradio_api/"
FILE = f"{API}file="
UPLOAD = f"{API}upload"
MCP = f"{API}mcp"
REST = "/api/"


@dataclass(frozen=True)
class Refusal:
    """Reason for refusing a request.

    Attributes:
        status: HTTP status code.
        text: One sentence for the client.
        retry_after: Seconds after which a retry makes sense.
    """

    status: int
    text: str
    retry_after: int | None = None


NOT_FOUND = Refusal(404, "Not Found")
BUSY = Refusal(503, "Too many requests are waiting. Try again in a few seconds.", 5)
SHUTTING_DOWN = Refusal(503, "The page is restarting. Try again in a minute.", 60)
DISK_FULL = Refusal(503, "The server has no disk space for photos. Try again later.", 300)
UPLOAD_STALLED = Refusal(408, "The upload stalled for 30 seconds. Send it again.")
UPLOAD_TOO_SLOW = Refusal(408, "The upload is too slow. Send smaller photos.")
REQUEST_TOO_LONG = Refusal(413, "The request is too long. Upload the photos as files.")
NO_PHOTO = Refusal(400, "The photo did not arrive. Send it again.")
URL_NOT_FETCHED = Refusal(400, "URLs are not fetched. Send the photo itself.")
INVALID_REQUEST = Refusal(400, "The request is invalid. See /api.")
RESULT_GONE = Refusal(404, "This result was already fetched or has expired. Send the photo again.")
FILE_GONE = Refusal(403, "This file does not exist or has been deleted. Upload it again.")
USE_POST = Refusal(405, "Send the photo by POST. See /api.")
UNAUTHORIZED = Refusal(
    401,
    "Authentication required: send a user name and a password, for example with "
    "curl -u USER:PASSWORD.",
)
SESSION_EXPIRED = Refusal(401, "Your session has expired. Reload the page and log in again.")


class Refused(Exception):
    """Ends a request with a Refusal, its only argument."""


def upload_too_large(limit: int) -> Refusal:
    """Return the refusal of an upload of more than `limit` bytes."""
    # Gradio looks for "maximum allowed size" to choose the status code.
    return Refusal(
        413,
        f"The upload exceeds the maximum allowed size of {limit / 1e6:g} MB. Send fewer or "
        "smaller files.",
    )


def rate_limited(retry_after: int) -> Refusal:
    """Return the refusal of a client that may retry after some seconds."""
    return Refusal(
        429, f"You are sending requests too fast. Try again in {retry_after} s.", retry_after
    )


def respond(path: str, refusal: Refusal) -> Response:
    """Return the response in the form that clients of a path expect."""
    headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else {}
    if refusal is USE_POST:
        headers["Allow"] = "POST"
    if refusal is UNAUTHORIZED:  # the page would show the browser's own log-in dialog
        headers["WWW-Authenticate"] = 'Basic realm="flower-model"'
    if path == UPLOAD:  # Gradio's page shows the body as it is
        return PlainTextResponse(refusal.text, refusal.status, headers)
    return JSONResponse({"detail": refusal.text}, refusal.status, headers)


async def handle_error(request: Request, error: Exception) -> Response:
    """Respond to an error of an endpoint without quoting a path or an exception of the server."""
    path = request.scope["path"]
    match error:
        case Refused():
            return respond(path, error.args[0])
        case RequestValidationError():  # FastAPI or Gradio can't parse the request
            return respond(path, INVALID_REQUEST)
        case HTTPException(status_code=503):  # this and the following: Gradio's own refusals
            return respond(path, BUSY)
        case HTTPException() if path.startswith(FILE):
            return respond(path, FILE_GONE)
        case HTTPException():
            return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
        case _:  # an error inside Gradio, whose location is in the log
            return respond(path, Refusal(500, INTERNAL_ERROR))


HANDLERS: Any = dict.fromkeys(
    (HTTPException, RequestValidationError, Refused, Exception), handle_error
)
