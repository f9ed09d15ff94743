"""The batches of one epoch, from photos that were decoded once or from shards."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any

from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset

from flower_model.errors import DataError, ImageError
from flower_model.photos.decode import open_image
from flower_model.system.cores import cores_per_process
from training.data.sampling import BalancedSampler, DrawnPhotos, Photos, TransformedPhotos
from training.recipe import Recipe

WINDOW = 64  # batches of a stream that are in memory as files


def steps_of(photos: Photos, recipe: Recipe) -> int:
    """How many steps an epoch has."""
    return max(1, photos.count // recipe.finetune.batch_size)


def worker_count(accelerator: Accelerator) -> int:
    """How many processes of their own transform photos for this one; 0: it does so itself.

    Where the network trains on two cores there is no core left for them, and starting them costs some
    seconds of every epoch: benchmarks/results/training.md has the times.
    """
    cores = cores_per_process()
    if accelerator.device.type == "cpu" and cores <= 2:
        return 0
    return min(8, cores)


def batches(
    photos: Photos, recipe: Recipe, epoch: int, transform: Any, seed: int, accelerator: Accelerator
) -> Iterable[Any]:
    """This process's share of an epoch's batches: pixels (photos, 3, height, width) and targets.

    Args:
        photos: Of the run.
        recipe: The run.
        epoch: Its number.
        transform: From a picture to its pixels.
        seed: Of the order and of all that the transform draws.
        accelerator: Which knows device and processes.
    """
    settings, balance = recipe.finetune, recipe.data.balance
    size, steps = settings.batch_size // settings.accumulate, steps_of(photos, recipe)
    if photos.stream is not None:
        draws = photos.stream.draws(
            balance=balance,
            seed=seed,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )
        size //= accelerator.num_processes
        count = steps * settings.accumulate
        loaded = _loaded(draws, size, count, transform, seed, worker_count(accelerator))
        return (send_to_device(batch, accelerator.device) for batch in loaded)
    sampler = BalancedSampler(photos.train_targets, balance, recipe.seed, epoch)
    count = min(photos.count, steps * settings.batch_size)
    if settings.mixup or settings.cutmix:
        count -= count % 2  # of a single batch that is not full; timm blends photos by twos
    order = list(sampler)[:count]
    dataset = DrawnPhotos(
        TransformedPhotos(photos.train, photos.train_targets, transform), order, seed
    )
    # Accelerate gives each process its share of every batch.
    loader = DataLoader(dataset, size, num_workers=worker_count(accelerator))
    prepared: Any = accelerator.prepare(loader)
    return prepared


class OpenedPhotos(Dataset[tuple[Any, int]]):
    """(transformed picture, class index) of files; for one that does not open, of the next that does."""

    def __init__(self, files: Sequence[tuple[bytes, int]], transform: Any) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        for content, target in (*self.files[index:], *self.files[:index]):
            with suppress(ImageError):
                return self.transform(open_image(content)), target
        raise DataError(f"None of {len(self.files)} photos in a row can be opened.")


def _loaded(
    draws: Iterator[tuple[bytes, int]],
    size: int,
    count: int,
    transform: Any,
    seed: int,
    workers: int,
) -> Iterator[Any]:
    """So many batches of the photos drawn from a stream.

    The shards are read here, ahead of what is trained on, and only files are opened in processes of
    their own, if there are any: what reads shards has threads, which do not survive a fork.
    """
    windows = [min(WINDOW, count - first) for first in range(0, count, WINDOW)]  # in batches

    def read(batches: int) -> list[tuple[bytes, int]]:
        return list(islice(draws, batches * size))

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, windows[0])
        for number, following in enumerate([*windows[1:], 0]):
            files, ahead = ahead.result(), reader.submit(read, following)
            opened = DrawnPhotos(OpenedPhotos(files, transform), range(len(files)), seed + number)
            yield from DataLoader(opened, size, num_workers=workers)
