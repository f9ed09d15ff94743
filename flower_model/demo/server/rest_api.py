"""REST API: one request with a photo, one answer."""

import base64
import secrets
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from html import escape
from typing import IO, Any
from urllib.parse import urljoin

import anyio
from fastapi import FastAPI, Request
from starlette.datastructures import UploadFile
from starlette.responses import HTMLResponse, JSONResponse, Response

from flower_model.demo.answers.cam_layers import cam_layers, photo_preview
from flower_model.demo.answers.card import answer_card
from flower_model.demo.identifier import (
    CONCURRENT_PHOTOS,
    MAX_PLANT_PHOTOS,
    Identification,
    PhotoIdentifier,
    PlantIdentification,
)
from flower_model.demo.micro_batching import InferenceTimeoutError
from flower_model.demo.server.refusals import USE_POST, Refusal, Refused
from flower_model.demo.server.request_log import log_request
from flower_model.demo.theme import STATIC
from flower_model.demo.uploads import SEND_A_FILE, not_a_photo
from flower_model.errors import FlowerModelError, ImageError
from flower_model.plant import PlantPredictionDict
from flower_model.prediction import PredictionDict

Identify = Callable[[list[bytes]], Identification | PlantIdentification]
MEMORY_BYTES = 1_000_000  # of a photo that waits; a larger one waits in a temporary file
MAX_FILES = 100  # of a form; PhotoIdentifier allows fewer and says how many
# For the API's description:
FILE: Any = {"type": "string", "format": "binary"}
FILES: Any = {"type": "array", "items": FILE, "minItems": 1, "maxItems": MAX_PLANT_PHOTOS}
ERRORS: Any = {
    400: {"description": "The form is malformed, or has too many files."},
    401: {"description": "Authentication required (--auth): use HTTP Basic authentication."},
    408: {"description": "The upload stalled or was too slow."},
    413: {"description": "The photo is too large."},
    422: {"description": "The request contains no photo that can be opened."},
    429: {"description": "Too many requests; see the header Retry-After."},
    500: {"description": "Something went wrong on the server."},
    503: {"description": "The server is busy or restarting; see the header Retry-After."},
}


def add_rest_api(app: FastAPI, identify_photo: PhotoIdentifier, root_path: str = "") -> None:
    """Add `POST /api/identify`, `POST /api/identify_plant` and their documentation at `/api`.

    The page asks for text/html and gets an answer card. With `?preview=1,3`, the card comes with
    pictures of the first and third photo, whose formats the visitor's browser doesn't know.

    Args:
        app: The application.
        identify_photo: Identifies photos.
        root_path: Path or URL at which a reverse proxy publishes the page, without a slash at its end.
    """
    threads = anyio.CapacityLimiter(CONCURRENT_PHOTOS)
    documentation = (STATIC / "api.html").read_text(encoding="utf-8")

    async def respond(request: Request, max_photos: int, identify: Identify) -> Response:
        with ExitStack() as stack:
            files = [stack.enter_context(f) for f in await read_photos(request, max_photos)]
            stack.enter_context(log_request(request.scope["path"], _refused, len(files)))
            return await anyio.to_thread.run_sync(
                _answer, request, files, identify, limiter=threads
            )

    def _answer(request: Request, files: list[IO[bytes]], identify: Identify) -> Response:
        photos = [file.read() for file in files]
        try:
            answer = identify(photos)
        except ImageError as error:
            raise (None if _is_form(request) else not_a_photo(photos[0])) or error from None
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse(answer.prediction.to_dict())
        wanted = request.query_params.get("preview", "").split(",")
        card = answer_card(answer.prediction, identify_photo.model.config.descriptions)
        for number, (photo, identification) in enumerate(
            zip(photos, answer.photos, strict=True), 1
        ):
            layers = cam_layers(identification, identify_photo.model.photo_transform)
            preview = photo_preview(photo) if str(number) in wanted else ""
            card += f"<div class='evidence' hidden>{layers}{preview}</div>"
        return HTMLResponse(card)

    @app.post(
        "/api/identify",
        response_model=PredictionDict,
        responses=ERRORS,
        openapi_extra=_body("photo", FILE, "image/*", "application/octet-stream"),
    )
    async def identify(request: Request) -> Response:
        """Identify the flower in a photo, sent as a form field or as the request body."""
        return await respond(request, 1, lambda photos: identify_photo(photos[0]))

    @app.post(
        "/api/identify_plant",
        response_model=PlantPredictionDict,
        responses=ERRORS,
        openapi_extra=_body("photos", FILES),
    )
    async def identify_plant(request: Request) -> Response:
        """Identify one plant from up to five photos of it, sent as form fields."""
        return await respond(request, MAX_FILES, identify_photo.identify_plant)

    @app.get("/api/identify", include_in_schema=False)
    @app.get("/api/identify_plant", include_in_schema=False)
    async def refuse_get() -> None:
        raise Refused(USE_POST)

    @app.get("/api", include_in_schema=False)
    @app.get("/api/", include_in_schema=False)
    async def documentation_page(request: Request) -> HTMLResponse:
        base = urljoin(str(request.base_url), f"{root_path}/")
        return HTMLResponse(documentation.replace("{{base}}", escape(base)))


async def read_photos(request: Request, max_photos: int) -> list[IO[bytes]]:
    """Return the photos of a request: the files of its form, or its body.

    Raises:
        Refused: If a form has no file.
    """
    if _is_form(request):
        form = await request.form(max_files=max_photos, max_fields=10)
        files = [value.file for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise Refused(Refusal(422, f"The form contains no file. {SEND_A_FILE}"))
        return list(files)
    file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115  # closed by the endpoint
    async for chunk in request.stream():
        file.write(chunk)
    file.seek(0)
    return [file]


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


def _is_form(request: Request) -> bool:
    """Return whether a request holds its photos as files of a form."""
    return request.headers.get("content-type", "").startswith("multipart/form-data")


def _body(field: str, schema: Any, *types: str) -> dict[str, Any]:
    """Describe a form with a field, or a file of other content types, for OpenAPI."""
    form = {"type": "object", "required": [field], "properties": {field: schema}}
    content = {"multipart/form-data": {"schema": form}} | {name: {"schema": FILE} for name in types}
    return {"requestBody": {"required": True, "content": content}}


def _refused(error: FlowerModelError) -> Refused:
    if isinstance(error, ImageError):
        return Refused(Refusal(422, str(error)))
    if isinstance(error, InferenceTimeoutError):
        return Refused(Refusal(503, str(error), 300))
    return Refused(Refusal(500, str(error)))
