"""How glibc, where it is, keeps memory; elsewhere these do nothing."""

import ctypes
import sys

# mallopt's, from glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Reuses freed memory: giving it back after every training step cost 11 % of the step's time."""
    _mallopt(_MMAP_MAX, 0)  # large blocks come from the heap
    _mallopt(_TRIM_THRESHOLD, 2**31 - 1)  # which does not shrink


def share_arenas() -> None:
    """Has a server's many threads take memory from two places.

    Each thread would have its own, and keep what its largest photo took: 2,400 answers to 30
    visitors at once took 40 MB more and went on growing twice as fast.
    """
    _mallopt(_ARENA_MAX, 2)


def _mallopt(parameter: int, value: int) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(parameter, value)
