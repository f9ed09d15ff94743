"""What of a recipe only the libraries, the processes and the network at hand can tell to be no good."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import should_reduce_batch_size
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.optim import get_optimizer_info
from torch import nn

from flower_model.errors import RecipeError
from training.data.augment import train_transform
from training.recipe import Recipe


def check_settings(recipe: Recipe, accelerator: Accelerator) -> None:
    """Raises RecipeError for what would fail in the first step, before anything is decoded."""
    settings, processes = recipe.finetune, accelerator.num_processes
    parts = settings.accumulate * processes
    mixed = bool(settings.mixup or settings.cutmix)  # timm blends each photo with another
    if settings.batch_size % parts or (mixed and settings.batch_size // parts % 2):
        divided = f" ({processes} processes, accumulate {settings.accumulate})" if parts > 1 else ""
        raise RecipeError(
            f"finetune.batch_size is {settings.batch_size}: make it a multiple of "
            f"{2 * parts if mixed else parts}{divided}{', as mixup wants' if mixed else ''}."
        )
    if settings.sync_batch_norm and processes > 1 and accelerator.device.type == "cpu":
        raise RecipeError("finetune.sync_batch_norm works on GPUs only: leave it out.")
    try:
        get_optimizer_info(settings.optimizer)
    except ValueError:
        raise RecipeError(
            f"timm has no optimizer '{settings.optimizer}': choose one such as adamw or sgd."
        ) from None
    data_config = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
    try:
        train_transform(settings, 64, {**data_config, "interpolation": "bicubic", "crop_pct": 1.0})
    except (AssertionError, ValueError, KeyError):
        raise RecipeError(
            f"finetune.rand_augment is '{settings.rand_augment}', which timm can't read: "
            "write it like rand-m7-n2-mstd0.5."
        ) from None


def check_network(network: nn.Module, recipe: Recipe) -> None:
    """Raises RecipeError unless the network can do all that the recipe names.

    It is left in evaluation mode.
    """
    head: Any = network.get_classifier()  # type: ignore[operator]  # timm networks have it
    if recipe.probe and not isinstance(head, nn.Linear | nn.Conv2d):
        raise RecipeError(
            f"{recipe.model.architecture} has no single last layer for a probe to set: "
            "leave it out with --set probe=false."
        )
    sizes = {recipe.model.test_size}
    sizes |= set(recipe.finetune.image_sizes) if recipe.finetune.epochs else set()
    sizes |= {recipe.probe.image_size} if recipe.probe else set()
    device = next(network.parameters()).device
    network.eval()
    for size in sorted(sizes):
        try:
            with torch.inference_mode():
                network(torch.zeros(1, 3, size, size, device=device))
        except (AssertionError, RuntimeError, ValueError) as error:
            if should_reduce_batch_size(error):
                raise
            raise RecipeError(
                f"{recipe.model.architecture} takes no photos of {size} pixels "
                f"({str(error).strip().rstrip('.')}): choose another size with --image-size."
            ) from None


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turns what PyTorch raises when memory runs out into a RecipeError that says what to change."""
    try:
        yield
    except RuntimeError as error:
        if should_reduce_batch_size(error):
            raise RecipeError(
                "The memory is not enough: lower finetune.batch_size, raise finetune.accumulate "
                "or choose smaller sizes."
            ) from None
        raise
