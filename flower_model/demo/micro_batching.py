"""Many visitors, one network: their photos share passes."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from flower_model.errors import FlowerModelError

Item = TypeVar("Item")
Result = TypeVar("Result")


class StuckError(FlowerModelError):
    """A pass takes so long that it will hardly end: the process has to be started anew."""


class SharedPasses(Generic[Item, Result]):
    """Turns a function of a batch into one of an item, to be called from many threads at once.

    Items that arrive while a pass runs go into the next one together; nobody waits for others to
    come. Gradio's own `batch=True` would do the same, but there one visitor's unreadable upload
    fails all the visitors of the batch.

    Args:
        run: The function of a batch.
        max_batch_size: Of items.
        patience: Seconds after which a caller is told that the pass is stuck.

    Example:
        >>> square = SharedPasses(lambda batch: [item**2 for item in batch])
        >>> square(3)
        9
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        max_batch_size: int = 16,
        patience: float = 60,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._patience = patience
        self._arrived: queue.SimpleQueue[tuple[Item, Future[Result]]] = queue.SimpleQueue()
        self._began: float | None = None  # the pass that runs now
        # A thread of its own, so that no caller is held by a pass that never ends.
        threading.Thread(target=self._work, name="passes", daemon=True).start()

    def __call__(self, item: Item) -> Result:
        """The item's result, or whatever the pass that it was in has raised.

        Raises:
            StuckError: If a pass does not end.
        """
        began = self._began
        if began is not None and time.monotonic() - began > self._patience:
            raise _stuck()
        result: Future[Result] = Future()
        self._arrived.put((item, result))
        try:
            return result.result(self._patience)
        except TimeoutError:
            if result.done():  # the pass itself has raised it
                raise
            result.cancel()
            raise _stuck() from None

    def _work(self) -> None:
        while True:
            batch = [self._arrived.get()]
            while len(batch) < self._max_batch_size and not self._arrived.empty():
                batch.append(self._arrived.get())
            # Who has given up needs no answer; who stays can't give up any more.
            batch = [entry for entry in batch if entry[1].set_running_or_notify_cancel()]
            if batch:
                self._began = time.monotonic()
                self._pass(batch)
                self._began = None

    def _pass(self, batch: list[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._run([item for item, _ in batch])
            answered = list(zip(batch, results, strict=True))
        # Not caught, any error would end the one thread that answers, and leave the callers waiting.
        except BaseException as error:  # noqa: BLE001  # each caller raises it from its future
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), value in answered:
            future.set_result(value)


def _stuck() -> StuckError:
    return StuckError("The model does not answer just now: try again in some minutes.")
