"""Many photos in a row: threads open the next ones while the network works on those before."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

import numpy as np

from flower_model.errors import ImageError
from flower_model.system.cores import usable_cores

MOST_THREADS = 8  # that open photos: Pillow does so without Python's lock

Photo = TypeVar("Photo")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


def stream(
    photos: Iterable[Photo],
    to_pixels: Callable[[Photo], np.ndarray],
    answer_batch: Callable[[np.ndarray], Sequence[Answer]],
    *,
    batch_size: int,
) -> Generator[Answer | ImageError]:
    """Answers photos one after the other, in their order, however many there are.

    Fewer than three batches of photos are taken from `photos` ahead of what was asked for.
    Closing the generator, or dropping it, ends its threads.

    Args:
        photos: What `to_pixels` takes; asked for one at a time, in the caller's thread.
        to_pixels: Opens a photo: (height, width, 3) uint8. Called in threads.
        answer_batch: Takes (photos, height, width, 3), gives an answer for each.
        batch_size: Photos in one batch, at least 1.

    Yields:
        For each photo its answer, or the ImageError that opening it raised.
    """

    def open_photo(photo: Photo) -> np.ndarray | ImageError:
        try:
            return to_pixels(photo)
        except ImageError as error:
            return error

    with closing(map_ahead(open_photo, photos, ahead=2 * batch_size)) as opened:
        while batch := list(islice(opened, batch_size)):
            pixels = [photo for photo in batch if not isinstance(photo, ImageError)]
            answers = iter(answer_batch(np.stack(pixels)) if pixels else ())
            for photo in batch:
                yield photo if isinstance(photo, ImageError) else next(answers)


def map_ahead(
    function: Callable[[Photo], Result], items: Iterable[Photo], *, ahead: int
) -> Generator[Result]:
    """Like `map`, but threads work on the next `ahead` items while the caller uses a result."""
    pool = ThreadPoolExecutor(min(MOST_THREADS, usable_cores()), thread_name_prefix="open-photo")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
