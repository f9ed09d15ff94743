"""Many visitors, one network: their photos share passes."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class SharedPasses(Generic[Item, Result]):
    """Turns a function of a batch into one of an item, to be called from many threads at once.

    Items that arrive while a pass runs go into the next one together; nobody waits for others to
    come. Gradio's own `batch=True` would do the same, but there one visitor's unreadable upload
    fails all the visitors of the batch.

    Example:
        >>> square = SharedPasses(lambda batch: [item**2 for item in batch])
        >>> square(3)
        9
    """

    def __init__(
        self, run: Callable[[list[Item]], Sequence[Result]], max_batch_size: int = 16
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._arrived: deque[tuple[Item, Future[Result]]] = deque()
        self._running = threading.Lock()

    def __call__(self, item: Item) -> Result:
        """The item's result, or whatever the pass that it was in has raised."""
        result: Future[Result] = Future()
        self._arrived.append((item, result))
        with self._running:  # whoever comes to run the next pass runs it for all who have arrived
            while not result.done():
                self._pass()
        return result.result()

    def _pass(self) -> None:
        size = min(len(self._arrived), self._max_batch_size)
        batch = [self._arrived.popleft() for _ in range(size)]
        try:
            results = self._run([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001  # belongs to the callers that wait for it
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), value in zip(batch, results, strict=True):
            future.set_result(value)
