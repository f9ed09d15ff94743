"""Prefetching: threads decode the next photos while the network runs on the current batch."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

import numpy as np

from flower_model.errors import ImageError
from flower_model.system.cores import usable_cores

MAX_THREADS = 8  # decoding threads; Pillow releases the GIL

Photo = TypeVar("Photo")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


def predict_batches(
    photos: Iterable[Photo],
    to_pixels: Callable[[Photo], np.ndarray],
    predict_batch: Callable[[np.ndarray], Sequence[Answer]],
    *,
    batch_size: int,
    wait: bool = True,
) -> Generator[Answer | ImageError]:
    """Decode photos in threads and predict them in batches, in order and in constant memory.

    The generator reads ahead by fewer than three batches.

    Args:
        photos: Inputs of `to_pixels`; iterated in the caller's thread.
        to_pixels: Decodes a photo to (height, width, 3) uint8; called from several threads.
        predict_batch: Returns an answer for each photo of a (photos, height, width, 3) batch.
        batch_size: Photos per batch, at least 1.
        wait: As for `prefetch_map`.

    Yields:
        For each photo, its answer or the ImageError that decoding it raised.
    """

    def open_photo(photo: Photo) -> np.ndarray | ImageError:
        try:
            return to_pixels(photo)
        except ImageError as error:
            return error

    with closing(prefetch_map(open_photo, photos, ahead=2 * batch_size, wait=wait)) as opened:
        while batch := list(islice(opened, batch_size)):
            pixels = [photo for photo in batch if not isinstance(photo, ImageError)]
            answers = iter(predict_batch(np.stack(pixels)) if pixels else ())
            for photo in batch:
                yield photo if isinstance(photo, ImageError) else next(answers)


def answers_or_error(answers: Iterable[Answer | ImageError]) -> list[Answer]:
    """Return the answers for several photos, none of which may be an error.

    Raises:
        ImageError: The first error; the message has its index.
    """
    found = []
    for index, answer in enumerate(answers):
        if isinstance(answer, ImageError):
            raise ImageError(f"photos[{index}]: {answer}")
        found.append(answer)
    return found


def prefetch_map(
    function: Callable[[Photo], Result],
    items: Iterable[Photo],
    *,
    ahead: int,
    threads: int | None = None,
    wait: bool = True,
) -> Generator[Result]:
    """Like `map`, with threads that compute up to `ahead` results in advance.

    Args:
        function: Called in the threads.
        items: Its arguments; iterated in the caller's thread.
        ahead: Results in advance, at least 1.
        threads: By default as many as cores, at most `MAX_THREADS`.
        wait: When the generator is closed or dropped, wait for the calls that are running.
    """
    threads = threads or min(MAX_THREADS, usable_cores())
    pool = ThreadPoolExecutor(threads, thread_name_prefix="open-photo")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait, cancel_futures=True)
