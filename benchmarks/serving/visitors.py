"""Many concurrent visitors: correctness, latency and memory of the page.

    python -m benchmarks.serving.visitors --visitors 50 --seconds 60

Starts the app on this computer. Each visitor asks all kinds of questions about pieces of a photo in turn:
a photo, a plant on two photos, four photos at once, by REST and by Gradio's API. One visitor in ten
also teaches a flower each time and tries it. Every answer is compared with that to the same question
when no other request was running, so that a mix-up between visitors is counted as an error.
"""

import argparse
import asyncio
import itertools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import psutil

from benchmarks.serving.client import (
    ApiClient,
    RequestRefused,
    Scores,
    draw_photo,
    same_scores,
    start_app,
)

Questions = dict[str, Callable[[], Awaitable[Scores | str]]]  # kind -> function that asks
TEACHERS = 10  # one visitor in so many teaches


def main() -> int:
    """Run the benchmark; return 1 if a request failed or got a wrong result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights", help="weights folder (%(default)s)")
    parser.add_argument("--visitors", type=int, default=50, help="at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="duration (%(default)s)")
    options = parser.parse_args()
    server, url = start_app(options.model)
    try:
        process = psutil.Process(server.pid)
        return asyncio.run(measure(url, process, options.visitors, options.seconds))
    finally:
        server.terminate()
        server.wait()


async def measure(url: str, server: psutil.Process, visitors: int, seconds: float) -> int:
    """Send the requests of all visitors and print the metrics; see `main`."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        questions: list[Questions] = []
        expected: list[list[Scores | str]] = []
        for seed in itertools.count():
            own = _questions(ApiClient(http), seed, teaches=len(questions) % TEACHERS == 0)
            answers = [await ask() for ask in own.values()]
            # A mix-up between photos with the same prediction would not show.
            if not any(same_scores(answers[0], other[0]) for other in expected):
                questions.append(own)
                expected.append(answers)
            if len(questions) == visitors:
                break
        memory = [server.memory_info().rss]
        times = defaultdict[str, list[float]](list)
        wrong, failures = 0, Counter[str]()
        end = time.perf_counter() + seconds

        async def visit(own: Questions, answers: list[Scores | str]) -> None:
            nonlocal wrong
            pairs = list(zip(own.items(), answers, strict=True))
            for (name, ask), answer in itertools.cycle(pairs):
                if time.perf_counter() >= end:
                    return
                start = time.perf_counter()
                try:
                    result = await ask()
                except (httpx.HTTPError, RequestRefused) as error:
                    failures[f"{type(error).__name__}: {error}"] += 1
                    continue
                if isinstance(result, str):
                    failures[result] += 1
                    continue
                times[name].append(time.perf_counter() - start)
                wrong += not same_scores(result, answer)

        async def watch_memory() -> None:
            for _ in range(6):
                await asyncio.sleep(seconds / 6)
                memory.append(server.memory_info().rss)

        start = time.perf_counter()
        await asyncio.gather(watch_memory(), *map(visit, questions, expected))
        duration = time.perf_counter() - start
    count = sum(map(len, times.values()))
    print(
        f"{visitors} visitors, {duration:.0f} s: {count} answers, {count / duration:.1f} per second"
    )
    print(f"errors: {failures.total()}; answers to another visitor's question: {wrong}")
    for failure, number in failures.most_common(5):
        print(f"  {number} x {failure}")
    for name, values in times.items():
        p50, p95 = np.percentile(values, [50, 95])
        print(f"{name}: {len(values)}, p50 {p50:.2f} s, p95 {p95:.2f} s, max {max(values):.2f} s")
    megabytes = ", ".join(f"{rss / 1e6:.0f}" for rss in memory)
    print(f"server memory before, and after every sixth of the duration: {megabytes} MB")
    return 1 if failures or wrong else 0


def _questions(client: ApiClient, seed: int, teaches: bool) -> Questions:
    """Return the kinds of questions that a visitor asks in turn."""
    photo, other, third, fourth = (draw_photo(10_000 * number + seed) for number in range(4))
    questions: Questions = {
        "a photo, REST": lambda: client.predict_rest(photo),
        "a photo, Gradio": lambda: client.predict(photo),
        "a plant on two photos, REST": lambda: client.predict_rest(photo, other),
        "four photos, Gradio": lambda: client.predict_many([other, photo, other, photo]),
    }
    if teaches:
        lesson = [photo, other, third]
        questions["teach and try"] = lambda: client.teach(f"flower {seed}", lesson, fourth)
    return questions


if __name__ == "__main__":
    sys.exit(main())
