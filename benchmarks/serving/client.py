"""Asks a page about a photo in the three steps of its API, and tells a polite refusal from another."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx

FORM = "Content-Type: multipart/form-data; boundary=photo"
PART = b'--photo\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'
END = b"\r\n--photo--\r\n"


class Asker:
    """One who asks, over connections that are kept."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def result(self, photo: bytes, pause: float = 0) -> tuple[str, object]:
        return await self.fetch(await self.ask(photo, pause))

    async def ask(self, photo: bytes, pause: float = 0) -> str:
        return await self.call(await self.upload(photo, pause))

    async def upload(self, photo: bytes, pause: float = 0) -> str:
        body = PART + photo + END
        headers = dict([FORM.split(": ", 1)])
        sent = await self.client.post(
            "gradio_api/upload", content=_slowly(body, pause) if pause else body, headers=headers
        )
        return str(_checked(sent).json()[0])

    async def call(self, path: str) -> str:
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        called = await self.client.post("gradio_api/call/identify", json={"data": data})
        return str(_checked(called).json()["event_id"])

    async def fetch(self, event: str) -> tuple[str, object]:
        got = _checked(await self.client.get(f"gradio_api/call/identify/{event}"))
        return _read_events(got.text)


class Refused(Exception):
    """The server did not take a request."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.status_code}: {answer.text[:200]}")
        self.polite = answer.status_code in (429, 503) and "try again" in answer.text


async def _slowly(body: bytes, pause: float) -> AsyncIterator[bytes]:
    size = len(body) // 20 + 1
    for start in range(0, len(body), size):
        await asyncio.sleep(pause)
        yield body[start : start + size]


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code != 200:
        raise Refused(answer)
    return answer


def _read_events(text: str) -> tuple[str, object]:
    """The last event of a stream: ("complete", name -> probability) or ("error", what was said)."""
    lines = [line for line in text.splitlines() if line]
    kind, said = lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))
    if kind == "complete":
        return kind, {guess["label"]: guess["probability"] for guess in said[0]["top"]}
    return kind, said
