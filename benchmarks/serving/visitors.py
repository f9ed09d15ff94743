"""Many visitors at once: does each get the answer to its own photo, how soon, and in how much memory?

    python -m benchmarks.serving.visitors --visitors 50 --seconds 60

Starts the app on this computer. Each visitor has a drawn photo of its own and asks for its name again and
again, as a program would: upload, call, result. Every answer is compared with the one that the same photo
got when it was alone.
"""

import argparse
import asyncio
import io
import json
import socket
import subprocess
import sys
import time
from collections import Counter

import httpx
import numpy as np
import psutil
from PIL import Image

from benchmarks.machine import ROOT

TOLERANCE = 0.02  # in a probability: with others in the batch, 16-bit arithmetic rounds differently


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights", help="weights folder (%(default)s)")
    parser.add_argument("--visitors", type=int, default=50, help="at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long (%(default)s)")
    options = parser.parse_args()
    server, url = start_app(options.model)
    try:
        return asyncio.run(
            measure(url, psutil.Process(server.pid), options.visitors, options.seconds)
        )
    finally:
        server.terminate()
        server.wait()


async def measure(url: str, server: psutil.Process, visitors: int, seconds: float) -> int:
    photos = [draw(number) for number in range(visitors)]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        alone = [await ask(client, photo) for photo in photos]
        if any(same(one, other) for i, one in enumerate(alone) for other in alone[:i]):
            raise SystemExit(
                "Two of the drawn photos get the same answer: a mix-up would not show."
            )
        memory = [server.memory_info().rss]
        times: list[float] = []
        wrong, failures = 0, Counter[str]()
        end = time.perf_counter() + seconds

        async def visit(photo: bytes, expected: dict[str, float]) -> None:
            nonlocal wrong
            while time.perf_counter() < end:
                start = time.perf_counter()
                try:
                    answer = await ask(client, photo)
                except (httpx.HTTPError, ValueError) as error:
                    failures[f"{type(error).__name__}: {error}"] += 1
                    continue
                times.append(time.perf_counter() - start)
                wrong += not same(answer, expected)

        async def watch_memory() -> None:
            for _ in range(6):
                await asyncio.sleep(seconds / 6)
                memory.append(server.memory_info().rss)

        start = time.perf_counter()
        await asyncio.gather(watch_memory(), *map(visit, photos, alone))
        took = time.perf_counter() - start
    p50, p95 = np.percentile(times, [50, 95])
    print(
        f"{visitors} visitors, {took:.0f} s: {len(times)} answers, {len(times) / took:.1f} a second"
    )
    failed = failures.total()
    print(f"errors: {failed}; answers to somebody else's photo: {wrong}")
    for failure, times_seen in failures.most_common(5):
        print(f"  {times_seen} x {failure}")
    print(f"p50 {p50:.2f} s, p95 {p95:.2f} s, slowest {max(times):.2f} s")
    told = ", ".join(f"{rss / 1e6:.0f}" for rss in memory)
    print(f"memory of the server before and at every sixth of the time: {told} MB")
    return 1 if failed or wrong else 0


async def ask(client: httpx.AsyncClient, photo: bytes) -> dict[str, float]:
    """The answer's names and probabilities, got in the three steps that the README shows.

    Raises:
        httpx.HTTPError: If the server does not answer.
        ValueError: If it answers with an error.
    """
    sent = await client.post("gradio_api/upload", files={"files": ("photo.png", photo)})
    data = [{"path": sent.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}]
    called = await client.post("gradio_api/call/identify", json={"data": data})
    event = called.raise_for_status().json()["event_id"]
    said = (await client.get(f"gradio_api/call/identify/{event}")).raise_for_status().text
    kind, data = said.splitlines()[-3:-1]  # the last event; heartbeats may come before it
    if kind != "event: complete":
        raise ValueError(data)
    (answer,) = json.loads(data.removeprefix("data: "))
    return {guess["label"]: guess["probability"] for guess in answer["top"]}


def same(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two answers are to the same photo: of all names, none differs much in probability."""
    # The fifth and the sixth may change places, so a name may be missing from one of them.
    least = max(min(one.values()), min(other.values()))
    return all(
        abs(one.get(name, least) - other.get(name, least)) <= TOLERANCE for name in {*one, *other}
    )


def draw(number: int) -> bytes:
    """A photo that no other number gets, 500 x 667, as JPEG: coloured petals on a coloured ground."""
    chance = np.random.default_rng(number)
    y, x = np.mgrid[-1:1:667j, -0.75:0.75:500j]
    centre, petals = chance.uniform(-0.3, 0.3, 2), chance.integers(3, 12)
    angle, radius = np.arctan2(y - centre[0], x - centre[1]), np.hypot(y - centre[0], x - centre[1])
    flower = radius < chance.uniform(0.3, 0.7) * (1 + 0.5 * np.cos(petals * angle))
    ground, petal = chance.integers(0, 256, (2, 3))
    pixels = np.where(flower[..., None], petal, ground) + chance.normal(0, 12, (667, 500, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def start_app(model: str, port: int | None = None) -> tuple[subprocess.Popen[str], str]:
    """Starts the app and waits until it says that it serves; returns its process and address."""
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


if __name__ == "__main__":
    sys.exit(main())
