"""Number of usable processor cores, which containers may limit."""

import math
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from flower_model.system.files import try_lock

CGROUP = Path("/sys/fs/cgroup")

_limit = math.inf  # cores that this process has reserved
_locks: list[int] = []  # open files, whose locks the kernel releases when the process ends


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    Inside a container limited to two cores, all cores of the machine are visible; one thread per
    visible core would spend most of its time throttled.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota(), _limit)))


def reserve_cores(count: int) -> None:
    """Limit this process to `count` cores, where possible to ones that no other process reserved.

    Processes that share cores wait for each other's threads. In a container with a CPU limit other
    containers may run on any core, so that only the number is limited.

    Args:
        count: At least 1.
    """
    global _limit
    _limit = count
    if hasattr(os, "sched_setaffinity"):  # not on macOS and Windows
        cores = sorted(os.sched_getaffinity(0))
        if count < len(cores) <= cpu_quota() and (mine := _lock_cores(cores, count)):
            for thread in os.listdir("/proc/self/task"):  # later threads inherit it
                with suppress(ProcessLookupError):  # it has ended since
                    os.sched_setaffinity(int(thread), mine)


def _lock_cores(cores: list[int], count: int) -> list[int]:
    """Return `count` cores that no other process has locked, or none if there are too few."""
    folder = Path(tempfile.gettempdir()) / f"flower-model-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    mine: dict[int, int] = {}  # core -> open file
    for core in cores:
        file = os.open(folder / str(core), os.O_CREAT | os.O_RDWR)
        if try_lock(file):
            mine[core] = file
        else:
            os.close(file)
        if len(mine) == count:
            _locks.extend(mine.values())
            return list(mine)
    for file in mine.values():
        os.close(file)
    return []


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
