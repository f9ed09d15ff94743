"""The batches of one epoch, from decoded photos or from streamed shards."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset

from flower_model.errors import DataError, ImageError
from flower_model.photos.decode import open_image
from flower_model.system.cores import cores_per_process
from training.data.sampling import EpochPhotos, Photos, TransformedPhotos, balanced_order
from training.recipe import Finetune, Recipe

SMALL_BATCH = 8
PREFETCHED = 64  # batches of a stream that are read ahead as encoded files


def batch_plan(count: int, settings: Finetune, processes: int = 1) -> tuple[int, int]:
    """Return the batch size and the number of steps of an epoch, adapted to few photos.

    The batch size is halved until an epoch of all `count` photos has at least four batches, but not below
    `SMALL_BATCH`. Fewer photos than `min_steps` batches are drawn repeatedly. Several processes share a
    batch.
    """
    unit = settings.accumulate * processes
    if settings.mixup or settings.cutmix:
        unit *= 2  # timm mixes photos in pairs
    size = settings.batch_size
    while size > max(SMALL_BATCH, count // 4) and size % (2 * unit) == 0:
        size //= 2
    return size, max(settings.min_steps, count // size)


def worker_count(accelerator: Accelerator) -> int:
    """Return the number of data loader workers for this process; 0 loads in the process itself.

    When the model trains on two CPU cores, workers would compete with it, and starting them takes
    seconds per epoch (see benchmarks/results/training.md).
    """
    cores = cores_per_process()
    if accelerator.device.type == "cpu" and cores <= 2:
        return 0
    return min(8, cores)


def load_batches(
    photos: Photos, recipe: Recipe, epoch: int, transform: Any, seed: int, accelerator: Accelerator
) -> Iterable[Any]:
    """Return this process's batches of an epoch: pixels (photos, 3, height, width) and targets.

    The epoch is counted from 0. `transform` maps an image to a tensor; `seed` determines the augmentation,
    and the order of a stream.
    """
    settings, balance = recipe.finetune, recipe.data.balance
    batch_size, steps = batch_plan(photos.count, settings, accelerator.num_processes)
    size = batch_size // settings.accumulate
    if photos.stream is not None:
        draws = photos.stream.draws(
            balance=balance,
            seed=seed,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )
        size //= accelerator.num_processes
        count = steps * settings.accumulate
        loaded = _prefetch(draws, size, count, transform, seed, worker_count(accelerator))
        return (send_to_device(batch, accelerator.device) for batch in loaded)
    count, groups = steps * batch_size, photos.train_groups
    drawing = np.random.default_rng((recipe.seed, epoch))
    order: list[int] = []
    while len(order) < count:
        order += balanced_order(groups, balance, drawing)
    order = order[:count]
    decoded, targets = photos.train, photos.train_targets
    if outliers := photos.outliers.together():
        rng = np.random.default_rng((seed, 1))
        for place in np.flatnonzero(rng.random(count) < recipe.data.negative_fraction):
            order[place] = len(decoded) + int(rng.integers(len(outliers)))
        decoded = decoded.extended(outliers)
        no_class = np.full(len(outliers), len(photos.labels), np.int64)
        targets = np.concatenate([targets, no_class])
    dataset = EpochPhotos(TransformedPhotos(decoded, targets, transform), order, seed)
    # Accelerate divides every batch among the processes.
    loader = DataLoader(dataset, size, num_workers=worker_count(accelerator))
    prepared: Any = accelerator.prepare(loader)
    return prepared


class EncodedPhotos(Dataset[tuple[Any, int]]):
    """Pairs (transformed photo, class index); an unreadable file is replaced by the next readable one."""

    def __init__(self, files: Sequence[tuple[bytes, int]], transform: Any) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        for content, target in (*self.files[index:], *self.files[:index]):
            with suppress(ImageError):
                return self.transform(open_image(content)), target
        raise DataError(
            f"{len(self.files)} consecutive photos of the stream can't be opened: check the shards."
        )


def _prefetch(
    draws: Iterator[tuple[bytes, int]],
    size: int,
    count: int,
    transform: Any,
    seed: int,
    workers: int,
) -> Iterator[Any]:
    """Yield `count` batches of a stream.

    The shards are read ahead by a thread of this process; workers only decode files, because the
    shard reader has threads that don't survive a fork.
    """
    windows = [min(PREFETCHED, count - first) for first in range(0, count, PREFETCHED)]  # batches

    def read(batches: int) -> list[tuple[bytes, int]]:
        return list(islice(draws, batches * size))

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, windows[0])
        for number, following in enumerate([*windows[1:], 0]):
            files, ahead = ahead.result(), reader.submit(read, following)
            photos = EpochPhotos(EncodedPhotos(files, transform), range(len(files)), seed + number)
            yield from DataLoader(photos, size, num_workers=workers)
