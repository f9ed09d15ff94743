"""Batch inference by the local engine and by Ray, on the same photos of a folder.

    python -m benchmarks.bulk

Every engine answers a few photos, which gives the time of its start, and then all of them. Writes
benchmarks/results/bulk.md. Requires the extras ray and train, and an otherwise idle machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.inference.compare import save_photos
from benchmarks.machine import RESULTS, ROOT, describe_machine, instruction_set
from flower_model.system.cores import usable_cores

FEW = 64  # photos that are answered to measure the start
DIFFERENT = 256  # files; the others are links to them


@dataclass(frozen=True)
class Engine:
    """An engine and its options."""

    name: str
    suffix: str
    options: Sequence[str]


@dataclass(frozen=True)
class Measurement:
    """A run of an engine.

    Attributes:
        seconds: From the start of the process to its end.
        memory: Largest worker in MB, for each second of the run.
        rows: Photo -> (label, probability).
    """

    seconds: float
    memory: list[float]
    rows: dict[str, tuple[str, float]]


def main() -> None:
    """Run the benchmark and write its results page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default=str(ROOT / "weights"))
    parser.add_argument("--photos", type=int, default=4000)
    options = parser.parse_args()
    cores = usable_cores()
    engines = [
        Engine("local", ".parquet", []),
        Engine("Ray, 1 worker", "", ["--engine", "ray", "--cores-per-worker", str(cores)]),
        Engine(f"Ray, {cores} workers", "", ["--engine", "ray", "--cores-per-worker", "1"]),
    ]
    lines, reference = [], None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        few = link_photos(folder, FEW)
        everything = link_photos(folder, options.photos)
        for engine in engines:
            measure(engine, few, folder / "warm-up", options.weights)  # fills the cache
            start = measure(engine, few, folder / "few", options.weights)
            run = measure(engine, everything, folder / "all", options.weights)
            after_start = run.seconds - start.seconds
            reference = reference or (run, after_start)
            lines.append(_row(engine, start, run, after_start, *reference, options.photos))
            print(lines[-1], flush=True)
    report(lines, options)


def link_photos(folder: Path, count: int) -> Path:
    """Return a folder of `count` JPEGs of 500 x 667 pixels under different names."""
    originals = folder / "originals"
    if not originals.exists():
        originals.mkdir()
        save_photos(originals, DIFFERENT)
    files = sorted(originals.iterdir())
    album = folder / f"album-{count}"
    album.mkdir()
    for number in range(count):
        os.link(files[number % DIFFERENT], album / f"{number:06}.jpg")
    return album


def measure(engine: Engine, album: Path, output: Path, weights: str) -> Measurement:
    """Answer an album in a new process."""
    output = output.with_name(f"{engine.name.replace(' ', '-')}-{output.name}{engine.suffix}")
    command = [sys.executable, "-m", "flower_model", str(album), "--output", str(output)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--model", weights, *engine.options],
        cwd=ROOT,
        env=os.environ | {"RAY_ADDRESS": "local"},
    )
    memory: list[float] = []
    sampler = threading.Thread(target=_sample, args=(process, memory), daemon=True)
    sampler.start()
    if process.wait():
        raise SystemExit(f"{engine.name} failed.")
    seconds = time.perf_counter() - start
    sampler.join()
    rows = pq.read_table(output, columns=["photo", "label", "probability"]).to_pylist()
    answers = {row["photo"]: (row["label"], row["probability"]) for row in rows}
    assert len(answers) == len(rows) == len(list(album.iterdir()))  # each photo once
    return Measurement(seconds, memory, answers)


def _sample(process: subprocess.Popen[bytes], memory: list[float]) -> None:
    """Append the memory of the largest worker, or of the process without workers, every second."""
    while process.poll() is None:
        largest = 0
        try:
            family = psutil.Process(process.pid)
            for child in (family, *family.children(recursive=True)):
                if child == family or "MapBatches(Worker)" in " ".join(child.cmdline()):
                    largest = max(largest, child.memory_info().rss)
        except psutil.Error:
            continue
        memory.append(largest / 1e6)
        time.sleep(1)


def _row(
    engine: Engine,
    start: Measurement,
    run: Measurement,
    after_start: float,
    reference: Measurement,
    reference_after_start: float,
    photos: int,
) -> str:
    same = sum(run.rows[photo][0] == reference.rows[photo][0] for photo in run.rows) / photos
    largest = max(abs(run.rows[photo][1] - reference.rows[photo][1]) for photo in run.rows)
    third = len(run.memory) // 3
    memory = f"{max(run.memory[third : 2 * third]):.0f}, {max(run.memory[2 * third :]):.0f} MB"
    return (
        f"| {engine.name} | {start.seconds:.1f} s | {run.seconds:.1f} s "
        f"| {(photos - FEW) / after_start:.1f} photos/s | {after_start / reference_after_start:.2f} "
        f"| {memory} | {same:.1%}, {largest:.2g} |"
    )


def report(lines: list[str], options: argparse.Namespace) -> None:
    """Print the results and write them to benchmarks/results/, in the section of the instruction set."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "openvino", "torch"))
    section = f"""{instruction_set()}

`python -m benchmarks.bulk --photos {options.photos}` on {describe_machine()}; {versions}.

| engine | start | all photos | speed | time / local | memory in the second, last third | same label, largest difference of a probability |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(lines)}
"""
    page = RESULTS / "bulk.md"
    intro, *sections = page.read_text(encoding="utf-8").split("## ")
    others = [each.strip() + "\n" for each in sections if each.split("\n")[0] != instruction_set()]
    print(section)
    page.write_text("\n## ".join([intro.strip() + "\n", *others, section]), encoding="utf-8")


if __name__ == "__main__":
    main()
