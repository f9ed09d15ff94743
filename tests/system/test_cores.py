"""Cores that processes reserve for themselves."""

import os
import subprocess
import sys

import pytest

from flower_model.system.cores import cpu_quota
from tests.support.commands import ROOT

PROGRAM = """
import os, sys, threading
from flower_model.system.cores import reserve_cores, usable_cores
older = threading.Event()
thread = threading.Thread(target=older.wait)
thread.start()
reserve_cores(1)
print(usable_cores(), *os.sched_getaffinity(thread.native_id), flush=True)
older.set()
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """`start()` starts a process that reserves a core; returns it and what it printed."""
    processes = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(tmp_path)},  # apart from workers of other tests
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, process.stdout.readline().split()

    yield start
    for process in processes:
        process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity")
    or len(os.sched_getaffinity(0)) < 2
    or cpu_quota() < len(os.sched_getaffinity(0)),
    reason="cores can't be reserved here",
)
def test_processes_reserve_different_cores_for_all_their_threads_until_they_end(start):
    first, (count, core) = start()
    assert count == "1"
    _, (_, other) = start()
    assert core != other
    first.communicate()
    assert start()[1] == ["1", core]


@pytest.mark.slow
def test_process_that_finds_no_free_core_is_limited_in_number_only(start):
    counts = [start()[1][0] for _ in range(3)]
    assert counts == ["1"] * 3
