"""The batches of one epoch, from photos that were decoded once or from shards."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader

from training.data import BalancedSampler, DrawnPhotos, Photos, TransformedPhotos
from training.forward import WORKERS
from training.recipe import Recipe


def steps_of(photos: Photos, recipe: Recipe) -> int:
    """How many steps an epoch has."""
    return max(1, photos.count // recipe.finetune.batch_size)


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
        endless = photos.stream.batches(
            size // accelerator.num_processes,
            transform,
            balance=balance,
            seed=seed,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
            workers=WORKERS,
        )
        drawn = islice(endless, steps * settings.accumulate)
        return (send_to_device(batch, accelerator.device) for batch in drawn)
    sampler = BalancedSampler(photos.train_targets, balance, recipe.seed, epoch)
    order = list(sampler)[: steps * settings.batch_size]
    dataset = DrawnPhotos(
        TransformedPhotos(photos.train, photos.train_targets, transform), order, seed
    )
    # Accelerate gives each process its share of every batch.
    loader: Any = accelerator.prepare(DataLoader(dataset, size, num_workers=WORKERS))
    return loader
