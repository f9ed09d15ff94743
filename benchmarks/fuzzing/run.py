"""Fuzzer: time, memory, crashes and leftover files when damaged and malicious files are opened.

    python -m benchmarks.fuzzing.run --minutes 12 --seed 0 --markdown benchmarks/results/fuzzing.md

Files are opened in a subprocess, in the same way as the page opens them. If it crashes, or doesn't
respond within `HANG` seconds, the fuzzer counts the file and starts another one. Files that exceed
a limit are kept in the folder whose path is printed at the end.
"""

import argparse
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.attacks import photo_attacks, zip_attacks
from benchmarks.fuzzing.mutations import mutate
from benchmarks.fuzzing.samples import samples

SECONDS, MEGABYTES = 2.0, 500  # limits for one file, see SECURITY.md
HANG = 20.0  # seconds; above the limit, because other programs may keep the machine busy
HEADINGS = (
    "| files | malicious | damaged | seeds | minutes | opened | max CPU s | max s | max MB "
    "| over the limits |"
)
KINDS = ("photo", "zip", "results", "weights")


def main() -> int:
    """Run the fuzzer; return 1 if a file exceeded a limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=1.0,
        help="for damaged files: 70 %% for photos, 10 %% for each other kind",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
    tallies = []
    for kind in options.kinds:
        minutes = options.minutes * (0.7 if kind == "photo" else 0.1)
        tallies.append(run(kind, files(kind, options.seed), 60 * minutes, kept))
        print(tallies[-1].line(), flush=True)
    text = "\n".join(
        [
            HEADINGS,
            "| --- |" + " ---: |" * 9,
            *(tally.line() for tally in tallies),
        ]
    )
    slowest = [
        f"- {kind}: {tally.slowest}, {tally.largest}"
        for kind, tally in zip(options.kinds, tallies, strict=True)
    ]
    if options.markdown:
        options.markdown.write_text(f"{text}\n\n" + "\n".join(slowest) + "\n", encoding="utf-8")
    print(text, *slowest, f"kept in {kept}", sep="\n")
    return int(any(tally.exceeded for tally in tallies))


@dataclass
class Tally:
    """Counts and maxima over the files of one kind."""

    kind: str
    attacks: int = 0
    mutants: int = 0
    seeds: set[str] = field(default_factory=set)
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0
    wall: float = 0.0
    megabytes: float = 0.0
    slowest: str = ""
    largest: str = ""
    exceeded: list[str] = field(default_factory=list)

    def add(self, name: str, outcome: dict[str, Any]) -> bool:
        """Count a file; return whether it exceeded a limit."""
        attack = name.startswith("attack: ")
        self.attacks, self.mutants = self.attacks + attack, self.mutants + (not attack)
        self.seeds.add(name)
        self.outcomes[outcome["outcome"]] += 1
        if outcome["cpu"] > self.cpu:
            self.slowest = f"slowest {name} ({outcome['cpu']:.2f} s)"
        if outcome["megabytes"] > self.megabytes:
            self.largest = f"largest {name} ({outcome['megabytes']:.0f} MB)"
        self.cpu, self.wall = max(self.cpu, outcome["cpu"]), max(self.wall, outcome["wall"])
        self.megabytes = max(self.megabytes, outcome["megabytes"])
        bad = outcome["outcome"] not in ("opened", "refused") or bool(outcome["left"])
        bad |= outcome["cpu"] > SECONDS or outcome["megabytes"] > MEGABYTES
        if bad:
            self.exceeded.append(name)
            print(f"EXCEEDED {self.kind} {name}: {outcome}", flush=True)
        return bad

    def line(self) -> str:
        opened = self.outcomes["opened"] / max(self.outcomes.total(), 1)
        kinds = len([name for name in self.seeds if not name.startswith("attack: ")])
        return (
            f"| {self.kind} | {self.attacks} | {self.mutants:,} | {kinds} | {self.seconds / 60:.1f} "
            f"| {100 * opened:.0f} % | {self.cpu:.2f} | {self.wall:.2f} | {self.megabytes:.0f} "
            f"| {len(self.exceeded)} |"
        )


def run(kind: str, source: Iterator[tuple[str, bytes]], seconds: float, kept: Path) -> Tally:
    """Open all malicious files, then damaged files until the time is over."""
    tally, end = Tally(kind), None
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        opener = Opener(kind, Path(folder))
        for number, (name, data) in enumerate(source):
            if not name.startswith("attack: "):
                end = end or time.monotonic() + seconds
                if time.monotonic() > end:
                    break
            if tally.add(name, opener.open(data)):
                (kept / f"{kind}-{number}").write_bytes(data[:100_000])
        opener.stop()
    tally.seconds = time.monotonic() - start
    return tally


def files(kind: str, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents: all malicious files, then damaged files indefinitely."""
    malicious = {"photo": photo_attacks, "zip": zip_attacks}
    for name, data in malicious[kind]() if kind in malicious else ():
        yield f"attack: {name}", data
    valid, rng = samples(kind), random.Random(seed)
    while True:
        name = rng.choice(list(valid))
        yield name, mutate(valid[name], rng, list(valid.values()))


class Opener:
    """A subprocess that opens files and is restarted after a crash or a hang."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self._start()

    def open(self, data: bytes) -> dict[str, Any]:
        """Open a file; return its outcome, seconds, peak memory and leftover files."""
        path = self.folder / "file"
        path.write_bytes(data)
        assert self.process.stdin and self.process.stdout
        start = time.monotonic()
        self.process.stdin.write(b"open\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], HANG)
        line = self.process.stdout.readline() if ready else b""
        if line:
            return dict(json.loads(line))
        if not ready:
            self.process.kill()
        code = self.process.wait()
        self._start()
        wall = time.monotonic() - start
        outcome = f"crash ({code})" if ready else "hang"
        return {"outcome": outcome, "cpu": wall, "wall": wall, "megabytes": 0.0, "left": []}

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.fuzzing.opener", self.kind, str(self.folder)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(self.folder)}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            stderr=subprocess.DEVNULL,  # libtiff prints warnings
        )
        assert self.process.stdout
        self.process.stdout.readline()  # waits until it is ready


if __name__ == "__main__":
    sys.exit(main())
