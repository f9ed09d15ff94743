"""HTTP client of the page's API, the server process, and synthetic photos with distinct predictions."""

import asyncio
import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from benchmarks.machine import ROOT

MULTIPART = "Content-Type: multipart/form-data; boundary=photo"
PART = b'--photo\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'
END = b"\r\n--photo--\r\n"
# A name and its percentage on the tab Teach.
SHOWN = re.compile(r"<(?:h2|li)>(.*?)(?:</h2><p><b>| )(?:&[gl]t;)?(\d+)%<")
TOLERANCE = 0.02  # of a probability: in 16 bits, the rounding depends on the rest of the batch

Scores = dict[str, float]  # label -> probability, of the most probable labels


class RequestRefused(Exception):
    """The server answered with an error status.

    Attributes:
        retryable: Whether the status is 429 or 503 and the response says when to retry.
    """

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"{response.status_code}: {response.text[:200]}")
        self.retryable = response.status_code in (429, 503) and "try again" in response.text


class ApiClient:
    """All kinds of questions to the page's API over a pool of connections.

    Gradio's take three requests (upload, call, result), those of the REST API one. Teaching has no API:
    it is asked for as the browser does.

    Each method raises `RequestRefused` for an error status and httpx.HTTPError if the server can't
    be reached. With `pause`, an upload is sent in 20 pieces, each after so many seconds.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def predict(self, photo: bytes, pause: float = 0) -> Scores | str:
        """Return the scores, or the error message of a failed prediction."""
        return await self.result(await self.call(await self.upload(photo, pause)))

    async def upload(self, photo: bytes, pause: float = 0) -> str:
        """Upload a photo; return its path on the server."""
        body = PART + photo + END
        headers = dict([MULTIPART.split(": ", 1)])
        content = _in_pieces(body, pause) if pause else body
        response = await self.http.post("gradio_api/upload", content=content, headers=headers)
        return str(_check(response).json()[0])

    async def predict_many(self, photos: list[bytes]) -> Scores | str:
        """Return the scores of the last of several photos, or the error message."""
        files = [_file(await self.upload(photo)) for photo in photos]
        event = await self._start("identify_many", files)
        answers = await self._wait("identify_many", event)
        return answers if isinstance(answers, str) else _scores(answers[-1]["answer"])

    async def predict_rest(self, *photos: bytes) -> Scores | str:
        """Return the scores of a photo, or of a plant on several photos, from one request."""
        path = "api/identify" if len(photos) == 1 else "api/identify_plant"
        files = [("photos", ("photo.jpg", photo)) for photo in photos]
        return _scores(_check(await self.http.post(path, files=files)).json())

    async def teach(self, label: str, photos: list[bytes], photo: bytes) -> Scores | str:
        """Teach a flower in a session of its own; return the scores of another photo after that."""
        session = uuid4().hex
        files = [_file(await self.upload(photo)) for photo in photos]
        lesson = await self._run("teach", session, label, files, None)
        if isinstance(lesson, str):
            return lesson
        answer = await self._run("try_photo", session, _file(await self.upload(photo)), None)
        if isinstance(answer, str):
            return answer
        return {name: int(percent) / 100 for name, percent in SHOWN.findall(answer[-1])}

    async def call(self, path: str) -> str:
        """Start the prediction for an uploaded photo; return the id of its event."""
        return await self._start("identify", _file(path))

    async def result(self, event: str) -> Scores | str:
        """Wait for the result of an event; see `predict`."""
        answer = await self._wait("identify", event)
        return answer if isinstance(answer, str) else _scores(answer)

    async def _run(self, function: str, session: str, *data: Any) -> list[Any] | str:
        """Call a function of the page as the browser does; return its outputs or the error message."""
        config = _check(await self.http.get("config")).json()
        [number] = [f["id"] for f in config["dependencies"] if f["api_name"] == function]
        request = {"data": data, "fn_index": number, "session_hash": session}
        _check(await self.http.post("gradio_api/queue/join", json=request))
        url = f"gradio_api/queue/data?session_hash={session}"
        response = _check(await self.http.get(url))
        messages = [json.loads(line[6:]) for line in response.text.splitlines() if line]
        [done] = [each for each in messages if each["msg"] == "process_completed"]
        return done["output"]["data"] if done["success"] else str(done["output"])

    async def _start(self, endpoint: str, argument: Any) -> str:
        response = await self.http.post(f"gradio_api/call/{endpoint}", json={"data": [argument]})
        return str(_check(response).json()["event_id"])

    async def _wait(self, endpoint: str, event: str) -> Any:
        """Return the endpoint's answer, or the error message as text."""
        response = _check(await self.http.get(f"gradio_api/call/{endpoint}/{event}"))
        lines = [line for line in response.text.splitlines() if line]  # heartbeats come first
        data = json.loads(lines[-1].removeprefix("data: "))
        return data[0] if lines[-2] == "event: complete" else str(data)


def _file(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def _scores(answer: dict[str, Any]) -> Scores:
    return {guess["label"]: guess["probability"] for guess in answer["top"]}


async def _in_pieces(body: bytes, pause: float) -> AsyncIterator[bytes]:
    size = len(body) // 20 + 1
    for start in range(0, len(body), size):
        await asyncio.sleep(pause)
        yield body[start : start + size]


def _check(response: httpx.Response) -> httpx.Response:
    if response.status_code != 200:
        raise RequestRefused(response)
    return response


def start_app(model: str, port: int | None = None) -> tuple[subprocess.Popen[str], str]:
    """Start the app and wait until it is listening; return its process and URL."""
    if port is None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
    command = [sys.executable, "app.py", "--model", model, "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout
    server.stdout.readline()
    return server, f"http://127.0.0.1:{port}/"


def draw_photo(seed: int) -> bytes:
    """Return a random piece of a dahlia in random colours, as a JPEG of 500 x 667 pixels.

    Drawn flowers would not do: a network that was trained on negatives gives all of them similar,
    low probabilities.
    """
    rng = np.random.default_rng(seed)
    photo = Image.fromarray(load_sample_image("flower.jpg"))  # 640 x 427
    height = int(rng.integers(260, 427))
    width = height * 3 // 4
    left, top = rng.integers(0, 640 - width), rng.integers(0, 427 - height + 1)
    piece = photo.crop((left, top, left + width, top + height)).resize((500, 667))
    hue, saturation, value = piece.convert("HSV").split()
    shift = int(rng.integers(0, 256))
    turned = hue.point([(level + shift) % 256 for level in range(256)])
    buffer = io.BytesIO()
    Image.merge("HSV", (turned, saturation, value)).convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def same_scores(one: Scores | str, other: Scores | str) -> bool:
    """Return whether two predictions are of the same photo: no probability differs much."""
    if isinstance(one, str) or isinstance(other, str):
        return False
    # The labels on ranks 5 and 6 may be swapped, so one of them may be missing.
    least = max(min(one.values()), min(other.values()))
    return all(
        abs(one.get(name, least) - other.get(name, least)) <= TOLERANCE for name in {*one, *other}
    )
