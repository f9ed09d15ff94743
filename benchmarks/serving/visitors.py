"""Many concurrent visitors: correctness, latency and memory of the page.

    python -m benchmarks.serving.visitors --visitors 50 --seconds 60

Starts the app on this computer. Each visitor repeatedly requests the prediction for one drawn photo
through the API. Every result is compared with that of the same photo when no other request was
running, so that a mix-up between visitors is counted as an error.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter

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
    photos = [draw_photo(seed) for seed in range(visitors)]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        client = ApiClient(http)
        expected = [await client.predict(photo) for photo in photos]
        if any(same_scores(one, other) for i, one in enumerate(expected) for other in expected[:i]):
            raise SystemExit("Two drawn photos get the same prediction: a mix-up would not show.")
        memory = [server.memory_info().rss]
        times: list[float] = []
        wrong, failures = 0, Counter[str]()
        end = time.perf_counter() + seconds

        async def visit(photo: bytes, scores: Scores | str) -> None:
            nonlocal wrong
            while time.perf_counter() < end:
                start = time.perf_counter()
                try:
                    result = await client.predict(photo)
                except (httpx.HTTPError, RequestRefused) as error:
                    failures[f"{type(error).__name__}: {error}"] += 1
                    continue
                if isinstance(result, str):
                    failures[result] += 1
                    continue
                times.append(time.perf_counter() - start)
                wrong += not same_scores(result, scores)

        async def watch_memory() -> None:
            for _ in range(6):
                await asyncio.sleep(seconds / 6)
                memory.append(server.memory_info().rss)

        start = time.perf_counter()
        await asyncio.gather(watch_memory(), *map(visit, photos, expected))
        duration = time.perf_counter() - start
    p50, p95 = np.percentile(times, [50, 95])
    rate = len(times) / duration
    print(f"{visitors} visitors, {duration:.0f} s: {len(times)} predictions, {rate:.1f} per second")
    print(f"errors: {failures.total()}; predictions for another visitor's photo: {wrong}")
    for failure, count in failures.most_common(5):
        print(f"  {count} x {failure}")
    print(f"p50 {p50:.2f} s, p95 {p95:.2f} s, max {max(times):.2f} s")
    megabytes = ", ".join(f"{rss / 1e6:.0f}" for rss in memory)
    print(f"server memory before, and after every sixth of the duration: {megabytes} MB")
    return 1 if failures or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
