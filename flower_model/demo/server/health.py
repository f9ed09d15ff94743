"""/healthz: does the model answer?"""

import asyncio
import io
import time
from collections.abc import Callable

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse

from flower_model.demo.inference import Finder

FRESH = 5.0  # seconds for which an answer stands: asked more often, the model is not bothered


class Health:
    """The endpoint: 200 while the model answers a photo, 503 while it does not, or is being stopped.

    Args:
        find: What is asked, about a grey photo of 64 x 64.
        stopping: Whether the server takes no more questions.
        patience: Seconds that the model has for its answer.
    """

    def __init__(self, find: Finder, stopping: Callable[[], bool], patience: float = 10) -> None:
        self._find, self._stopping, self._patience = find, stopping, patience
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(picture, "PNG")
        self._photo = picture.getvalue()
        self._asked: asyncio.Task[float] | None = None
        self._since = 0.0

    async def answer(self, request: Request) -> JSONResponse:
        """The endpoint's function."""
        if self._stopping():
            return JSONResponse({"status": "stopping"}, 503)
        if self._asked is None or (self._asked.done() and self._age() > FRESH):
            self._asked, self._since = asyncio.create_task(self._ask()), time.monotonic()
        asked = self._asked  # by whoever comes first; the others wait for the same answer
        await asyncio.wait([asked], timeout=max(self._patience - self._age(), 0))
        if not asked.done() or asked.exception():
            return JSONResponse({"status": "the model does not answer"}, 503)
        return JSONResponse({"status": "ok", "ms": round(1000 * asked.result(), 1)})

    async def _ask(self) -> float:
        start = time.perf_counter()
        await asyncio.to_thread(self._find, self._photo)
        return time.perf_counter() - start

    def _age(self) -> float:
        return time.monotonic() - self._since
