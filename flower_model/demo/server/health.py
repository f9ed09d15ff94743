"""The health check /healthz: can the model answer?"""

import asyncio
import io
import time
from collections.abc import Callable

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse

from flower_model.demo.identifier import PhotoIdentifier

CACHED_SECONDS = 5.0  # a result is reused this long, so that frequent checks cost nothing


class HealthCheck:
    """Endpoint that answers 200 while the model classifies a grey test image, otherwise 503.

    Args:
        identify: Classifies the test image.
        shutting_down: Returns True once the server refuses new requests.
        timeout: Seconds that the model has to answer.
    """

    def __init__(
        self, identify: PhotoIdentifier, shutting_down: Callable[[], bool], timeout: float = 10
    ) -> None:
        self._identify, self._shutting_down, self._timeout = identify, shutting_down, timeout
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(picture, "PNG")
        self._photo = picture.getvalue()
        self._check: asyncio.Task[float] | None = None
        self._started = 0.0

    async def respond(self, request: Request) -> JSONResponse:
        """Respond to GET /healthz."""
        if self._shutting_down():
            return JSONResponse({"status": "stopping"}, 503)
        if self._check is None or (self._check.done() and self._age() > CACHED_SECONDS):
            self._check, self._started = asyncio.create_task(self._run()), time.monotonic()
        check = self._check  # concurrent requests wait for the same check
        await asyncio.wait([check], timeout=max(self._timeout - self._age(), 0))
        if not check.done() or check.exception():
            return JSONResponse({"status": "the model does not answer"}, 503)
        runtime, ms = self._identify.model.runtime.name, round(1000 * check.result(), 1)
        return JSONResponse({"status": "ok", "ms": ms, "runtime": runtime})

    async def _run(self) -> float:
        start = time.perf_counter()
        await asyncio.to_thread(self._identify, self._photo)
        return time.perf_counter() - start

    def _age(self) -> float:
        return time.monotonic() - self._started
