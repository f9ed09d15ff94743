"""What the figures of a results page were measured on."""

import os
import platform
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> str:
    """The number of cores and the processor's name without its model: "2 cores of AMD EPYC"."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    name = " ".join((names or [platform.processor() or platform.machine()])[0].split()[:2])
    return f"{os.cpu_count()} cores of {name}"
