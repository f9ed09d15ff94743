"""Passes shared by many threads: everybody gets his own result, and nobody waits for company."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flower_model.demo.micro_batching import SharedPasses


def test_everybody_gets_his_own_result():
    square = SharedPasses(lambda batch: [item**2 for item in batch])
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(square, range(500))) == [item**2 for item in range(500)]


def test_who_comes_during_a_pass_shares_the_next_one():
    sizes, first_runs, go_on = [], threading.Event(), threading.Event()

    def run(batch):
        sizes.append(len(batch))
        first_runs.set()
        assert go_on.wait(10)
        return batch

    ask = SharedPasses(run, max_batch_size=4)
    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(ask, 0)]
        assert first_runs.wait(10)
        results += [threads.submit(ask, item) for item in range(1, 7)]
        while ask._arrived.qsize() < 6:
            pass
        go_on.set()
        assert [result.result(10) for result in results] == list(range(7))
    assert sizes == [1, 4, 2]


def test_a_pass_that_fails_fails_for_those_in_it_only():
    def run(batch):
        if "bad" in batch:
            raise MemoryError
        return batch

    ask = SharedPasses(run)
    with pytest.raises(MemoryError):
        ask("bad")
    assert ask("good") == "good"
