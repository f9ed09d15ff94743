"""Wall-clock time of a run, by phase."""

import time

import psutil


class Clock:
    """Stopwatch that starts with the process and adds each lap to a named phase.

    Attributes:
        phases: Name -> seconds. A resumed run adds to the seconds in its checkpoint.
    """

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._last = psutil.Process().create_time()

    def lap(self, phase: str) -> float:
        """Add the seconds since the previous lap to `phase`, and return them."""
        now = time.time()
        seconds, self._last = now - self._last, now
        self.add({phase: seconds})
        return seconds

    def add(self, phases: dict[str, float]) -> None:
        """Add seconds that were measured before, such as those of an interrupted run."""
        for phase, seconds in phases.items():
            self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    @property
    def seconds(self) -> float:
        """The total over all phases."""
        return sum(self.phases.values())

    def __str__(self) -> str:
        return ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in self.phases.items())
