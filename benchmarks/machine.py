"""Paths and helpers shared by the benchmarks: hardware description, CSV results, median times."""

import csv
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def describe_machine() -> str:
    """Return the number of cores and the vendor and family of the CPU: "2 cores of AMD EPYC"."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    name = " ".join((names or [platform.processor() or platform.machine()])[0].split()[:2])
    return f"{os.cpu_count()} cores of {name}"


def instruction_set() -> str:
    """Return what bounds the speed of a forward pass: "AMX", "AVX-512 and bf16", "AVX-512", "AVX2"."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    names = {
        "amx_tile": "AMX",
        "avx512_bf16": "AVX-512 and bf16",
        "avx512f": "AVX-512",
        "avx2": "AVX2",
    }
    return next((name for flag, name in names.items() if flag in flags), platform.machine())


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median duration of a call, after a warm-up of a quarter of the repeats."""
    times = []
    for _ in range(repeats + repeats // 4):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[repeats // 4 :])


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, none if it doesn't exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
