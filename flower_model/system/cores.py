"""Number of usable processor cores, which containers may limit."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    Inside a container limited to two cores, all cores of the machine are visible; one thread per
    visible core would spend most of its time throttled.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota())))


def cores_per_process() -> int:
    """Divide the usable cores by the local processes of Accelerate or torchrun; at least 1."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def cpu_quota(cgroup: Path = CGROUP) -> float:
    """Return the CPU limit of the container, in cores; infinite if there is none."""
    for quota_and_period in (
        ("cpu.max",),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),  # cgroup v1
    ):
        try:
            words = " ".join((cgroup / name).read_text() for name in quota_and_period).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # "max" means unlimited
            continue
        if quota > 0 and period > 0:
            return quota / period
    return math.inf
