"""What damaged and hostile files do to what opens them: time, memory, crashes, files left behind.

    python -m benchmarks.fuzzing.run --minutes 12 --seed 0 --markdown benchmarks/results/fuzzing.md

Files are opened in a process of their own, as the page opens them. One that crashes, or does not
answer within `HANG` seconds, is counted and another process goes on. Any file that breaks a promise is
kept in the folder that is named at the end.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.mutations import mutate

SECONDS, MEGABYTES = 2.0, 500  # what is promised of one file
HANG = 20.0  # seconds; longer than promised, because other programs may keep the machine busy
HEADINGS = (
    "| files | hostile | damaged | of kinds | minutes | answered | worst CPU s | worst s | worst MB "
    "| promises broken |"
)
KINDS = ("photo", "zip", "answers", "weights")


def main() -> int:
    """Runs the command; returns 1 if a file broke a promise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="of damaged files, per kind's share"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--markdown", type=Path, help="write the figures there")
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
    return int(any(tally.broken for tally in tallies))


@dataclass
class Tally:
    """What became of the files of one kind."""

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
    broken: list[str] = field(default_factory=list)

    def add(self, name: str, seen: dict[str, Any]) -> bool:
        """Counts a file; returns whether it broke a promise."""
        attack = name.startswith("attack: ")
        self.attacks, self.mutants = self.attacks + attack, self.mutants + (not attack)
        self.seeds.add(name)
        self.outcomes[seen["outcome"]] += 1
        if seen["cpu"] > self.cpu:
            self.slowest = f"slowest {name} ({seen['cpu']:.2f} s)"
        if seen["megabytes"] > self.megabytes:
            self.largest = f"largest {name} ({seen['megabytes']:.0f} MB)"
        self.cpu, self.wall = max(self.cpu, seen["cpu"]), max(self.wall, seen["wall"])
        self.megabytes = max(self.megabytes, seen["megabytes"])
        bad = seen["outcome"] not in ("answer", "refused") or bool(seen["left"])
        bad |= seen["cpu"] > SECONDS or seen["megabytes"] > MEGABYTES
        if bad:
            self.broken.append(name)
            print(f"BROKEN {self.kind} {name}: {seen}", flush=True)
        return bad

    def line(self) -> str:
        answers = self.outcomes["answer"] / max(self.outcomes.total(), 1)
        kinds = len([name for name in self.seeds if not name.startswith("attack: ")])
        return (
            f"| {self.kind} | {self.attacks} | {self.mutants:,} | {kinds} | {self.seconds / 60:.1f} "
            f"| {100 * answers:.0f} % | {self.cpu:.2f} | {self.wall:.2f} | {self.megabytes:.0f} "
            f"| {len(self.broken)} |"
        )


def run(kind: str, source: Iterator[tuple[str, bytes]], seconds: float, kept: Path) -> Tally:
    """Has hostile files opened, all of them, and then damaged ones until the time is over."""
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
    """Hostile files, then damaged ones without end."""
    from benchmarks.fuzzing import attacks as fuzz_attacks
    from benchmarks.fuzzing import samples as fuzz_samples

    attacks: Callable[[], Iterator[tuple[str, bytes]]] | None
    attacks = getattr(fuzz_attacks, f"{kind}_attacks", None)
    for name, data in attacks() if attacks else ():
        yield f"attack: {name}", data
    samples = fuzz_samples.samples(kind)
    rng = random.Random(seed)
    while True:
        name = rng.choice(list(samples))
        yield name, mutate(samples[name], rng, list(samples.values()))


class Opener:
    """A process that opens files, replaced when it crashes or hangs."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self._start()

    def open(self, data: bytes) -> dict[str, Any]:
        """What opening a file came to."""
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
            stderr=subprocess.DEVNULL,  # where libtiff tells of all that it finds
        )
        assert self.process.stdout
        self.process.stdout.readline()  # it is ready


if __name__ == "__main__":
    sys.exit(main())
