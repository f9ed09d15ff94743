"""Dynamic micro-batching: concurrent requests share forward passes."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from flower_model.errors import FlowerModelError

Item = TypeVar("Item")
Result = TypeVar("Result")


class InferenceTimeoutError(FlowerModelError):
    """A forward pass has hung; the process has to be restarted."""

    def __init__(self) -> None:
        super().__init__("The model is not responding. Try again in a few minutes.")


class MicroBatcher(Generic[Item, Result]):
    """Turn a function of a batch into a thread-safe function of one item.

    Items that arrive during a forward pass form the next batch; no item waits for a batch to fill.
    Gradio's `batch=True` is not used because one unreadable upload fails its whole batch.

    Args:
        run: Function of a batch; returns one result per item.
        max_batch_size: Items per batch.
        timeout: Seconds after which a caller stops waiting.

    Example:
        >>> square = MicroBatcher(lambda batch: [item**2 for item in batch])
        >>> square(3)
        9
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        max_batch_size: int = 16,
        timeout: float = 60,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._timeout = timeout
        self._pending: queue.SimpleQueue[tuple[Item, Future[Result]]] = queue.SimpleQueue()
        self._batch_started: float | None = None
        # Batches run in a dedicated thread, so that a hung forward pass blocks no caller.
        threading.Thread(target=self._work, name="micro-batcher", daemon=True).start()

    def __call__(self, item: Item) -> Result:
        """Return the result for one item; errors raised by its batch propagate.

        Raises:
            InferenceTimeoutError: If the forward pass does not finish in time.
        """
        started = self._batch_started
        if started is not None and time.monotonic() - started > self._timeout:
            raise InferenceTimeoutError
        future: Future[Result] = Future()
        self._pending.put((item, future))
        try:
            return future.result(self._timeout)
        except TimeoutError:
            if future.done():  # meanwhile, or the batch function itself raised it
                return future.result()
            future.cancel()
            raise InferenceTimeoutError from None

    def _work(self) -> None:
        while True:
            batch = [self._pending.get()]
            while len(batch) < self._max_batch_size and not self._pending.empty():
                batch.append(self._pending.get())
            # Skips cancelled requests; from here on none of the others can be cancelled.
            batch = [entry for entry in batch if entry[1].set_running_or_notify_cancel()]
            if batch:
                self._batch_started = time.monotonic()
                self._run_batch(batch)
                self._batch_started = None

    def _run_batch(self, batch: list[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._run([item for item, _ in batch])
            answered = list(zip(batch, results, strict=True))
        # An uncaught error would end the only worker thread and leave every caller waiting.
        except BaseException as error:  # noqa: BLE001  # re-raised in each caller by its future
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in answered:
            future.set_result(result)
