"""Micro-batching: every thread gets its own result, and no item waits for a batch to fill."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flower_model.demo.micro_batching import InferenceTimeoutError, MicroBatcher


def test_every_caller_gets_its_own_result():
    square = MicroBatcher(lambda batch: [item**2 for item in batch])
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(square, range(500))) == [item**2 for item in range(500)]


def test_items_that_arrive_during_a_forward_pass_form_the_next_batch():
    sizes, first_started, resume = [], threading.Event(), threading.Event()

    def run(batch):
        sizes.append(len(batch))
        first_started.set()
        assert resume.wait(10)
        return batch

    classify = MicroBatcher(run, max_batch_size=4)
    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(classify, 0)]
        assert first_started.wait(10)
        results += [threads.submit(classify, item) for item in range(1, 7)]
        while classify._pending.qsize() < 6:
            time.sleep(0.01)
        resume.set()
        assert [result.result(10) for result in results] == list(range(7))
    assert sizes == [1, 4, 2]


def test_an_error_reaches_only_the_callers_of_its_batch():
    def run(batch):
        if "bad" in batch:
            raise MemoryError
        return batch

    classify = MicroBatcher(run)
    with pytest.raises(MemoryError):
        classify("bad")
    assert classify("good") == "good"


def test_callers_of_a_hung_forward_pass_time_out_and_it_recovers():
    hang = threading.Event()

    def run(batch):
        hang.wait()
        return batch

    classify = MicroBatcher(run, timeout=1)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(classify, number) for number in range(4)]
        assert all(isinstance(call.exception(10), InferenceTimeoutError) for call in calls)
    start = time.monotonic()
    with pytest.raises(InferenceTimeoutError):
        classify(5)
    assert time.monotonic() - start < 0.8
    hang.set()
    deadline = time.monotonic() + 20
    while classify._batch_started is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert classify(6) == 6
