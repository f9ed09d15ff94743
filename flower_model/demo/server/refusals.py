"""How a page says no: each refusal is one sentence, with when to try again, and nothing of the server."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from flower_model.demo.server.request_log import SORRY

API = "/gradio_api/"
FILE = f"{API}file="
UPLOAD = f"{API}upload"


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let in, in one sentence.

    Attributes:
        status: Of HTTP.
        text: The sentence.
        wait: Seconds after which it is worth another try.
    """

    status: int
    text: str
    wait: int | None = None


NOT_HERE = Refusal(404, "Not Found")
BUSY = Refusal(503, "Too many people are asking just now: try again in a few seconds.", 5)
STOPPING = Refusal(503, "The page is being restarted: try again in a minute.", 60)
NO_ROOM = Refusal(503, "There is no room for photos just now: try again in some minutes.", 300)
TOO_SLOW = Refusal(408, "Nothing more came for half a minute: send it again.")
TOO_LONG = Refusal(413, "The question is too long: send photos by the upload.")
NOT_SENT = Refusal(400, "The photo did not arrive: send it again.")
ADDRESS = Refusal(400, "Send the photo itself: nothing is fetched from an address.")
NOT_UNDERSTOOD = Refusal(400, "The question is not understood: see 'Use via API' on the page.")
NO_ANSWER = Refusal(404, "This answer was fetched before, or waited too long: ask again.")
NO_FILE = Refusal(403, "There is no such file: it was deleted, or never here.")


class Refused(Exception):
    """Ends a request with a Refusal, its only argument."""


def too_much(limit: int) -> Refusal:
    """Says that an upload has more than so many bytes."""
    # Gradio looks for "maximum allowed size" to know which status to answer with.
    return Refusal(
        413,
        f"This is over the maximum allowed size of {limit / 1e6:g} MB in one go: send it in parts.",
    )


def too_often(wait: int) -> Refusal:
    """Says that a visitor has asked too often, and when he may again, in seconds."""
    return Refusal(
        429, f"You ask faster than this page can answer everybody: try again in {wait} s.", wait
    )


async def refuse(request: Request, error: Exception) -> Response:
    """What a visitor sees of Gradio's own refusals: no path, and none of its numbers."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    if error.status_code == 503:
        return answer(path, BUSY)
    if path.startswith(FILE):
        return answer(path, NO_FILE)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def not_understood(request: Request, error: Exception) -> Response:
    """What a visitor sees when Gradio can't make sense of a request."""
    return answer(request.scope["path"], NOT_UNDERSTOOD)


async def failed(request: Request, error: Exception) -> Response:
    """What a visitor sees when Gradio itself fails; what failed is in the log."""
    return answer(request.scope["path"], Refusal(500, SORRY))


def answer(path: str, refusal: Refusal) -> Response:
    """A refusal as the path's callers read it."""
    headers = {"Retry-After": str(refusal.wait)} if refusal.wait else None
    if path == UPLOAD:  # the page shows its text as it is
        return PlainTextResponse(refusal.text, refusal.status, headers)
    return JSONResponse({"detail": refusal.text}, refusal.status, headers)
