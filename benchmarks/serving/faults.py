"""What becomes of requests when much goes wrong at once: is each answered rightly, or told why not?

    python -m benchmarks.serving.faults --seconds 240

Starts the app on this computer and, while visitors ask on and on, sends it slow uploads, uploads and
questions that break off, answers that nobody fetches, broken photos, and crowds larger than the queue.
In the middle the server's process, the only worker there is, is killed and started again, as a service
manager would; at the end it is asked to stop while it has work. Writes benchmarks/results/faults.md.
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

from benchmarks.machine import ROOT
from benchmarks.serving.client import FORM, PART, Asker, Refused
from benchmarks.serving.visitors import draw, same, start_app
from flower_model.demo.server.upload_folder import PREFIX

STEADY, SLOW, CROWD = 12, 3, 400
PATIENCE = 60.0  # seconds without any answer after which a request counts as lost
RESULTS = ROOT / "benchmarks" / "results" / "faults.md"
OUTCOMES = ("right", "told why not", "refused", "cut off", "wrong", "lost")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights", help="weights folder (%(default)s)")
    parser.add_argument("--seconds", type=float, default=240, help="how long (%(default)s)")
    options = parser.parse_args()
    run = Run(options.model, options.seconds)
    try:
        asyncio.run(run.all())
    finally:
        if run.server.poll() is None:
            run.server.kill()
    text = run.report()
    print(text, *run.strangest, sep="\n")
    RESULTS.write_text(text, encoding="utf-8")
    return 1 if run.faults() else 0


class Run:
    """One run: a server, those who ask it, and what became of what they asked."""

    def __init__(self, model: str, seconds: float) -> None:
        self.model, self.seconds = model, seconds
        self.outcomes: dict[str, Counter[str]] = {}
        self.times: list[float] = []
        self.memory: list[list[int]] = []
        self.strangest: set[str] = set()
        self.down = False  # cut off now is no fault
        self.server, self.url = start_app(model)
        self.photos = [draw(number) for number in range(STEADY)]

    async def all(self) -> None:
        # The server ends a connection that was idle for 5 s, as httpx does by default: a question
        # on one that is just being ended would be cut off, and no fault of either.
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2)
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE, limits=limits) as client:
            self.asker = Asker(client)
            self.alone = [(await self.asker.result(photo))[1] for photo in self.photos]
            self.end = time.perf_counter() + self.seconds
            visits = [self.keep_on("steady visitors", self.steady, n) for n in range(STEADY)]
            visits += [self.keep_on("slow uploads", self.slow, n) for n in range(SLOW)]
            visits += [
                self.keep_on("uploads that break off", self.broken_upload),
                self.keep_on("listeners that leave", self.leave, 0),
                self.keep_on("answers nobody fetches", self.leave, 1),
                self.keep_on("broken photos", self.broken_photo),
                self.crowds(),
                self.kill_and_restart(),
                self.watch_memory(),
            ]
            await asyncio.gather(*visits)
            await self.stop_under_load()

    # Those who ask

    async def steady(self, number: int) -> str:
        start = time.perf_counter()
        kind, answer = await self.asker.result(self.photos[number])
        self.times.append(time.perf_counter() - start)
        return self.judge(kind, answer, number)

    async def slow(self, number: int) -> str:
        """A photo in 20 pieces over six seconds."""
        kind, answer = await self.asker.result(self.photos[number], pause=0.3)
        return self.judge(kind, answer, number)

    async def broken_upload(self) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", int(self.url.split(":")[2][:-1]))
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n{FORM}\r\n\r\n"
        writer.write(head.encode() + PART + self.photos[0][:20_000])
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.transport.abort()
        return "right"

    async def leave(self, fetch: int) -> str:
        """Asks, and goes before the answer comes; or never comes for it."""
        event = await self.asker.ask(self.photos[0])
        if not fetch:
            async with self.asker.client.stream("GET", f"gradio_api/call/identify/{event}"):
                pass
        await asyncio.sleep(0.5)
        return "right"

    async def broken_photo(self) -> str:
        kind, said = await self.asker.result(self.photos[0][: 200 + int(time.time()) % 20_000])
        told = "damaged or truncated" in str(said) or "not a supported image" in str(said)
        return "right" if kind == "error" and told else "wrong"

    async def crowds(self) -> None:
        """More questions at once than the queue takes, about every 40 seconds."""
        while time.perf_counter() < self.end - 20:
            await asyncio.sleep(min(40, self.seconds / 6))
            path = await self.try_to(lambda: self.asker.upload(self.photos[1]))
            if path:
                await asyncio.gather(
                    *(
                        self.once("crowds over the queue", self.one_of_many, path)
                        for _ in range(CROWD)
                    )
                )

    async def one_of_many(self, path: str) -> str:
        kind, answer = await self.asker.fetch(await self.asker.call(path))
        return self.judge(kind, answer, 1)

    # What is done to the server

    async def kill_and_restart(self) -> None:
        await asyncio.sleep(self.seconds / 2)
        self.down, start = True, time.perf_counter()
        self.server.kill()
        self.server.wait()
        self.left = len(folders())
        port = int(self.url.split(":")[2][:-1])
        self.server, _ = await asyncio.to_thread(start_app, self.model, port)
        self.restarted = time.perf_counter() - start
        self.left_after = len(folders())
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
        path = await self.asker.upload(self.photos[1])
        events = [await self.asker.call(path) for _ in range(100)]
        asked = [
            asyncio.create_task(self.once("asked before SIGTERM", self.fetch_one, event))
            for event in events
        ]
        await asyncio.sleep(0.05)
        self.server.send_signal(signal.SIGTERM)
        start = time.perf_counter()
        await asyncio.gather(*asked)
        self.code = await asyncio.to_thread(self.server.wait, 40)
        self.stopped = time.perf_counter() - start
        self.left_at_end = len(folders())

    async def fetch_one(self, event: str) -> str:
        return self.judge(*await self.asker.fetch(event), 1)

    # One request

    async def keep_on(
        self, who: str, visit: Callable[..., Awaitable[str]], *arguments: int
    ) -> None:
        while time.perf_counter() < self.end:
            await self.once(who, visit, *arguments)

    async def once(
        self, who: str, visit: Callable[..., Awaitable[str]], *arguments: object
    ) -> None:
        counter = self.outcomes.setdefault(who, Counter())
        was_down = self.down
        try:
            outcome = await visit(*arguments)
        except Refused as refused:
            outcome = "refused" if refused.polite else "wrong"
            self.strangest |= set() if refused.polite else {str(refused)}
            await asyncio.sleep(1)
        except httpx.TimeoutException as error:
            outcome = "lost"
            self.strangest.add(repr(error))
        except (httpx.HTTPError, OSError) as error:
            # The server is not there, or went away in the middle: the asker sees that it failed.
            outcome = "cut off" if self.down or was_down else "lost"
            self.strangest |= set() if self.down or was_down else {repr(error)}
            await asyncio.sleep(0.5)
        counter[outcome] += 1

    def judge(self, kind: str, answer: object, number: int) -> str:
        if kind != "complete":
            self.strangest.add(f"{kind}: {answer}"[:200])
            return "told why not" if "try again" in str(answer) else "wrong"
        return "right" if same(answer, self.alone[number]) else "wrong"

    async def try_to(self, do: Callable[[], Awaitable[str]]) -> str | None:
        try:
            return await do()
        except (Refused, httpx.HTTPError):
            return None

    # What came of it

    def faults(self) -> int:
        return sum(c["wrong"] + c["lost"] for c in self.outcomes.values()) + (self.code != 0)

    def report(self) -> str:
        rows = [f"| who | {' | '.join(OUTCOMES)} |", "| --- |" + " --- |" * len(OUTCOMES)]
        rows += [
            f"| {who} | {' | '.join(str(counter[outcome]) for outcome in OUTCOMES)} |"
            for who, counter in self.outcomes.items()
        ]
        lives = "; then, in the process started after the kill, ".join(
            ", ".join(f"{rss / 1e6:.0f}" for rss in life) for life in self.memory
        )
        total = sum(sum(counter.values()) for counter in self.outcomes.values())
        table, times = "\n".join(rows), sorted(self.times)
        return f"""# Faults

Made by `python -m benchmarks.serving.faults --seconds {self.seconds:.0f}` on {os.cpu_count()} cores of
{platform.machine()}. {total} requests; *told why not*: an answer that is one sentence; *refused*: 503 or 429
with a sentence and when to try again; *cut off*: the connection broke while the server was killed, which the
asker sees; *lost*: nothing for {PATIENCE:.0f} s, or cut off with no cause. Times want a quiet machine.

{table}

- Steady visitors waited {times[len(times) // 2]:.2f} s (median), {times[int(0.95 * len(times))]:.2f} s (95 %), at
  most {times[-1]:.2f} s, crowds included.
- Killed in the middle and started again, it answered after {self.restarted:.1f} s. Folders of uploads, of all pages on
  this computer, left by
  the kill: {self.left}; after the start: {self.left_after}, one of them new.
- Asked to stop with 100 questions waiting, it ended after {self.stopped:.1f} s with exit code {self.code} and
  {self.left_at_end} folders left.
- Memory (MB): {lives}.
"""


def folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


if __name__ == "__main__":
    sys.exit(main())
