"""How many processor cores are ours, which in a container is fewer than the machine has."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores that this process may keep busy at once, at least 1.

    A container that is given two cores of a large machine still sees them all; a thread on each
    would spend its time waiting to be let in again.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota())))


def cores_of_process() -> int:
    """This process's share of them where Accelerate or torchrun started several here, at least 1."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def cpu_quota(cgroup: Path = CGROUP) -> float:
    """Processor seconds a second that the container is given; infinite if it is not limited."""
    for quota_and_period in (
        ("cpu.max",),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),  # the first version's
    ):
        try:
            words = " ".join((cgroup / name).read_text() for name in quota_and_period).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # "max" is no number
            continue
        if quota > 0 and period > 0:
            return quota / period
    return math.inf
