"""Where a run's seconds go."""

import time

import psutil


class Clock:
    """Counts from the start of the process, phase by phase.

    Attributes:
        phases: Name -> seconds. A run that goes on adds to those of its checkpoint.
    """

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._last = psutil.Process().create_time()

    def lap(self, phase: str) -> float:
        """Counts the seconds since the previous lap to `phase`, and returns them."""
        now = time.time()
        seconds, self._last = now - self._last, now
        self.add({phase: seconds})
        return seconds

    def add(self, phases: dict[str, float]) -> None:
        """Counts what was measured elsewhere."""
        for phase, seconds in phases.items():
            self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return sum(self.phases.values())

    def __str__(self) -> str:
        return ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in self.phases.items())
