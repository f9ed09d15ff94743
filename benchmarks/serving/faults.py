"""Fault injection: every request to the page gets its own prediction or a clear refusal.

    python -m benchmarks.serving.faults --seconds 240

Starts the app on this computer. While visitors send requests continuously, it also receives slow
uploads, aborted uploads and requests, results that are never fetched, broken photos, and bursts of
more requests than the queue accepts. Halfway through, the server process is killed and restarted,
as a service manager would do; at the end it receives SIGTERM while requests are waiting. Writes
benchmarks/results/faults.md.
"""

import argparse
import asyncio
import os
import platform
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import psutil

from benchmarks.machine import RESULTS
from benchmarks.serving.client import (
    MULTIPART,
    PART,
    ApiClient,
    RequestRefused,
    Scores,
    draw_photo,
    same_scores,
    start_app,
)
from flower_model.demo.server.upload_folder import PREFIX

VISITORS, SLOW_VISITORS, BURST = 12, 3, 400
TIMEOUT = 60.0  # seconds without a response after which a request counts as lost
OUTCOMES = ("correct", "error message", "refused", "cut off", "wrong", "lost")


def main() -> int:
    """Run the benchmark; return 1 if a request was lost or answered wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights", help="weights folder (%(default)s)")
    parser.add_argument("--seconds", type=float, default=240, help="duration (%(default)s)")
    options = parser.parse_args()
    run = Run(options.model, options.seconds)
    try:
        asyncio.run(run.all())
    finally:
        if run.server.poll() is None:
            run.server.kill()
    text = run.report()
    print(text, *run.unexpected, sep="\n")
    (RESULTS / "faults.md").write_text(text, encoding="utf-8")
    return 1 if run.faults() else 0


class Run:
    """A server under load and faults, with the outcome of every request."""

    def __init__(self, model: str, seconds: float) -> None:
        self.model, self.seconds = model, seconds
        self.outcomes: dict[str, Counter[str]] = {}
        self.times: list[float] = []
        self.memory: list[list[int]] = []
        self.unexpected: set[str] = set()
        self.down = False  # while the server restarts, broken connections are expected
        self.server, self.url = start_app(model)
        self.port = int(self.url.split(":")[2][:-1])
        self.photos = [draw_photo(seed) for seed in range(VISITORS)]

    async def all(self) -> None:
        """Run all clients and faults at once, then stop the server under load."""
        # The server closes connections that were idle for 5 s, as does httpx by default. A request
        # on a connection that is just being closed would fail without a fault of either.
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2)
        async with httpx.AsyncClient(base_url=self.url, timeout=TIMEOUT, limits=limits) as http:
            self.client = ApiClient(http)
            self.expected = [await self.client.predict(photo) for photo in self.photos]
            self.end = time.perf_counter() + self.seconds
            tasks = [self.repeat("steady visitors", self.visit, n) for n in range(VISITORS)]
            tasks += [
                self.repeat("slow uploads", self.upload_slowly, n) for n in range(SLOW_VISITORS)
            ]
            tasks += [
                self.repeat("aborted uploads", self.abort_upload),
                self.repeat("aborted requests", self.leave, 0),
                self.repeat("results never fetched", self.leave, 1),
                self.repeat("broken photos", self.send_broken_photo),
                self.send_bursts(),
                self.kill_and_restart(),
                self.watch_memory(),
            ]
            await asyncio.gather(*tasks)
            await self.stop_under_load()

    # Clients

    async def visit(self, number: int) -> str:
        start = time.perf_counter()
        result = await self.client.predict(self.photos[number])
        self.times.append(time.perf_counter() - start)
        return self.check(result, number)

    async def upload_slowly(self, number: int) -> str:
        """Upload a photo in 20 pieces over six seconds."""
        result = await self.client.predict(self.photos[number], pause=0.3)
        return self.check(result, number)

    async def abort_upload(self) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n"
        writer.write(f"{head}{MULTIPART}\r\n\r\n".encode() + PART + self.photos[0][:20_000])
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.transport.abort()
        return "correct"

    async def leave(self, fetch: int) -> str:
        """Start a prediction and disconnect before its result, or never ask for it."""
        event = await self.client.call(await self.client.upload(self.photos[0]))
        if not fetch:
            async with self.client.http.stream("GET", f"gradio_api/call/identify/{event}"):
                pass
        await asyncio.sleep(0.5)
        return "correct"

    async def send_broken_photo(self) -> str:
        result = await self.client.predict(self.photos[0][: 200 + int(time.time()) % 20_000])
        expected = "damaged or truncated" in str(result) or "not a supported image" in str(result)
        return "correct" if isinstance(result, str) and expected else "wrong"

    async def send_bursts(self) -> None:
        """About every 40 seconds, send more requests at once than the queue accepts."""
        while time.perf_counter() < self.end - 20:
            await asyncio.sleep(min(40, self.seconds / 6))
            try:
                path = await self.client.upload(self.photos[1])
            except (RequestRefused, httpx.HTTPError):
                continue
            name = "bursts over the queue"
            await asyncio.gather(*(self.once(name, self.call, path) for _ in range(BURST)))

    async def call(self, path: str) -> str:
        return self.check(await self.client.result(await self.client.call(path)), 1)

    # Faults of the server

    async def kill_and_restart(self) -> None:
        await asyncio.sleep(self.seconds / 2)
        self.down, start = True, time.perf_counter()
        self.server.kill()
        self.server.wait()
        self.left = len(upload_folders())
        self.server, _ = await asyncio.to_thread(start_app, self.model, self.port)
        self.restarted = time.perf_counter() - start
        self.left_after = len(upload_folders())
        await asyncio.sleep(2)
        self.down = False

    async def watch_memory(self) -> None:
        server = None
        while time.perf_counter() < self.end:
            if server is not self.server:
                server = self.server
                self.memory.append([])
            if server.poll() is None:
                self.memory[-1].append(psutil.Process(server.pid).memory_info().rss)
            await asyncio.sleep(self.seconds / 24)

    async def stop_under_load(self) -> None:
        path = await self.client.upload(self.photos[1])
        events = [await self.client.call(path) for _ in range(100)]
        requests = [
            asyncio.create_task(self.once("waiting at SIGTERM", self.fetch, event))
            for event in events
        ]
        await asyncio.sleep(0.05)
        self.server.send_signal(signal.SIGTERM)
        start = time.perf_counter()
        await asyncio.gather(*requests)
        self.code = await asyncio.to_thread(self.server.wait, 40)
        self.stopped = time.perf_counter() - start
        self.left_at_end = len(upload_folders())

    async def fetch(self, event: str) -> str:
        return self.check(await self.client.result(event), 1)

    # Outcomes

    async def repeat(
        self, name: str, request: Callable[..., Awaitable[str]], *arguments: int
    ) -> None:
        while time.perf_counter() < self.end:
            await self.once(name, request, *arguments)

    async def once(
        self, name: str, request: Callable[..., Awaitable[str]], *arguments: object
    ) -> None:
        """Send a request and count its outcome."""
        counter = self.outcomes.setdefault(name, Counter())
        was_down = self.down
        try:
            outcome = await request(*arguments)
        except RequestRefused as refused:
            outcome = "refused" if refused.retryable else "wrong"
            self.unexpected |= set() if refused.retryable else {str(refused)}
            await asyncio.sleep(1)
        except httpx.TimeoutException as error:
            outcome = "lost"
            self.unexpected.add(repr(error))
        except (httpx.HTTPError, OSError) as error:
            # The connection was refused or closed, so the client knows that its request failed.
            outcome = "cut off" if self.down or was_down else "lost"
            self.unexpected |= set() if self.down or was_down else {repr(error)}
            await asyncio.sleep(0.5)
        counter[outcome] += 1

    def check(self, result: Scores | str, number: int) -> str:
        """Return the outcome of a prediction for photo `number`."""
        if isinstance(result, str):
            self.unexpected.add(result[:200])
            return "error message" if "try again" in result else "wrong"
        return "correct" if same_scores(result, self.expected[number]) else "wrong"

    def faults(self) -> int:
        """Return the number of wrong and lost requests, plus 1 for a failed shutdown."""
        return sum(c["wrong"] + c["lost"] for c in self.outcomes.values()) + (self.code != 0)

    def report(self) -> str:
        """Return the results page."""
        rows = [f"| requests | {' | '.join(OUTCOMES)} |", "| --- |" + " ---: |" * len(OUTCOMES)]
        rows += [
            f"| {name} | {' | '.join(str(counter[outcome]) for outcome in OUTCOMES)} |"
            for name, counter in self.outcomes.items()
        ]
        memory = "; after the restart: ".join(
            ", ".join(f"{rss / 1e6:.0f}" for rss in life) for life in self.memory
        )
        total = sum(sum(counter.values()) for counter in self.outcomes.values())
        table, times = "\n".join(rows), sorted(self.times)
        return f"""# Fault injection

Made by `python -m benchmarks.serving.faults --seconds {self.seconds:.0f}` on {os.cpu_count()} cores of
{platform.machine()}, with {total} requests. *Error message*: the result is an error with one sentence.
*Refused*: status 503 or 429 with a sentence that says when to try again. *Cut off*: the connection broke
while the server was killed and restarted. *Lost*: no response within {TIMEOUT:.0f} s, or a connection that
broke at another time.

{table}

- Steady visitors waited {times[len(times) // 2]:.2f} s (median), {times[int(0.95 * len(times))]:.2f} s (95th percentile) and at
  most {times[-1]:.2f} s, bursts included.
- After the kill, the restarted server answered within {self.restarted:.1f} s. Upload folders of all pages on this
  computer: {self.left} after the kill, {self.left_after} after the restart, including its new one.
- After SIGTERM with 100 waiting requests, the server exited within {self.stopped:.1f} s with code {self.code}, and
  {self.left_at_end} upload folders were left.
- Memory of the server (MB): {memory}.
"""


def upload_folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


if __name__ == "__main__":
    sys.exit(main())
