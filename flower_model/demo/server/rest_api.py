"""REST API: one request with a photo, one answer."""

import base64
import secrets
import tempfile
from collections.abc import Callable
from html import escape
from typing import IO, Any

import anyio
from fastapi import FastAPI, Request
from starlette.datastructures import UploadFile
from starlette.responses import HTMLResponse, JSONResponse, Response

from flower_model.demo.answers.cam_layers import cam_layers, photo_preview
from flower_model.demo.answers.card import answer_card
from flower_model.demo.identifier import CONCURRENT_PHOTOS, Identification, PhotoIdentifier
from flower_model.demo.micro_batching import InferenceTimeoutError
from flower_model.demo.server.refusals import Refusal, Refused
from flower_model.demo.server.request_log import log_request
from flower_model.demo.theme import STATIC
from flower_model.demo.uploads import SEND_A_FILE, not_a_photo
from flower_model.errors import FlowerModelError, ImageError
from flower_model.prediction import PredictionDict

Render = Callable[[bytes, Identification, bool], Response]
MEMORY_BYTES = 1_000_000  # of a photo that waits; a larger one waits in a temporary file
BINARY = {"schema": {"type": "string", "format": "binary"}}
PHOTO_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["photo"],
                "properties": {"photo": BINARY["schema"]},
            }
        },
        "image/*": BINARY,
        "application/octet-stream": BINARY,
    },
}
ERRORS: Any = {
    401: {"description": "The page has a password: use HTTP Basic authentication."},
    413: {"description": "The photo is too large."},
    422: {"description": "The request contains no photo that can be opened."},
    429: {"description": "Too many requests; see the header Retry-After."},
    503: {"description": "The server is busy or restarting; see the header Retry-After."},
}


def add_rest_api(app: FastAPI, identify_photo: PhotoIdentifier) -> None:
    """Add `POST /api/identify` and its documentation at `/api`."""
    descriptions = identify_photo.model.config.descriptions
    threads = anyio.CapacityLimiter(CONCURRENT_PHOTOS)
    documentation = (STATIC / "api.html").read_text(encoding="utf-8")

    @app.post(
        "/api/identify",
        response_model=PredictionDict,
        responses=ERRORS,
        openapi_extra={"requestBody": PHOTO_BODY},
    )
    async def identify(request: Request) -> Response:
        """Identify the flower in a photo, sent as a form field or as the request body.

        The page asks for text/html and gets its answer card.
        """
        with await read_photo(request) as file, log_request("/api/identify", _refused) as record:
            record.photos = 1
            render = _card if "text/html" in request.headers.get("accept", "") else _json
            preview = "preview" in request.query_params
            return await anyio.to_thread.run_sync(_answer, file, render, preview, limiter=threads)

    def _answer(file: IO[bytes], render: Render, preview: bool) -> Response:
        photo = file.read()
        try:
            return render(photo, identify_photo(photo), preview)
        except ImageError as error:
            raise not_a_photo(photo) or error from None

    def _json(photo: bytes, identification: Identification, preview: bool) -> Response:
        return JSONResponse(identification.prediction.to_dict())

    def _card(photo: bytes, identification: Identification, preview: bool) -> Response:
        card = answer_card(identification.prediction, descriptions)
        layers = cam_layers(identification, identify_photo.model.photo_transform)
        return HTMLResponse(card + layers + (photo_preview(photo) if preview else ""))

    @app.get("/api", include_in_schema=False)
    @app.get("/api/", include_in_schema=False)
    async def documentation_page(request: Request) -> HTMLResponse:
        return HTMLResponse(documentation.replace("{{base}}", escape(str(request.base_url))))


async def read_photo(request: Request) -> IO[bytes]:
    """Return the photo of a request: its first file field, or its body.

    Raises:
        Refused: If a form has no file.
    """
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await request.form(max_files=1, max_fields=10)
        for value in form.values():
            if isinstance(value, UploadFile):
                return value.file
        raise Refused(Refusal(422, f"The form contains no file. {SEND_A_FILE}"))
    file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115  # closed by the endpoint
    async for chunk in request.stream():
        file.write(chunk)
    file.seek(0)
    return file


def authenticator(
    credentials: tuple[str, str] | None, session_exists: Callable[[Request], bool]
) -> Callable[[Request], bool]:
    """Return a check for HTTP Basic credentials or a session of the page.

    Args:
        credentials: User name and password; None if everybody is welcome.
        session_exists: Returns True for a request of a visitor who has logged in on the page.
    """
    if credentials is None:
        return lambda request: True
    expected = base64.b64encode(":".join(credentials).encode()).decode()

    def is_authorized(request: Request) -> bool:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        basic = scheme.lower() == "basic" and secrets.compare_digest(
            value.strip().encode(), expected.encode()
        )
        return basic or session_exists(request)

    return is_authorized


def _refused(error: FlowerModelError) -> Refused:
    if isinstance(error, ImageError):
        return Refused(Refusal(422, str(error)))
    if isinstance(error, InferenceTimeoutError):
        return Refused(Refusal(503, str(error), 300))
    return Refused(Refusal(500, str(error)))
