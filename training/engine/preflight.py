"""Checks before a run starts: settings that the libraries, processes or network don't support."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import should_reduce_batch_size
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.optim import get_optimizer_class, get_optimizer_info
from torch import nn

from flower_model.errors import RecipeError, shorten
from training.augmentation.transform import train_transform
from training.recipe import Recipe


def check_settings(recipe: Recipe, accelerator: Accelerator) -> None:
    """Raise RecipeError, before photos are decoded, for settings that the first step can't run."""
    settings, processes = recipe.finetune, accelerator.num_processes
    parts = settings.accumulate * processes
    mixed = bool(settings.mixup or settings.cutmix)  # timm mixes photos in pairs
    if settings.batch_size % parts or (mixed and settings.batch_size // parts % 2):
        divided = f" ({processes} processes, accumulate {settings.accumulate})" if parts > 1 else ""
        raise RecipeError(
            f"finetune.batch_size is {settings.batch_size}. Choose a multiple of "
            f"{2 * parts if mixed else parts}{divided}{', which mixup requires' if mixed else ''}."
        )
    if settings.sync_batch_norm and processes > 1 and accelerator.device.type == "cpu":
        raise RecipeError("finetune.sync_batch_norm requires GPUs. Remove it.")
    try:
        optimizer = get_optimizer_info(settings.optimizer)
        get_optimizer_class(settings.optimizer)  # imports Apex or bitsandbytes for some
    except ValueError:
        raise RecipeError(
            f"timm has no optimizer '{shorten(settings.optimizer)}'. Choose one such as adamw or sgd."
        ) from None
    except (AssertionError, ImportError) as error:
        raise RecipeError(
            f"finetune.optimizer can't be {settings.optimizer} here ({shorten(error)}). "
            "Choose one such as adamw or sgd."
        ) from None
    if optimizer.second_order:
        raise RecipeError(
            f"finetune.optimizer can't be {settings.optimizer}, which needs second derivatives. "
            "Choose one such as adamw or sgd."
        )
    data_config = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
    try:
        train_transform(settings, 64, {**data_config, "interpolation": "bicubic", "crop_pct": 1.0})
    except (AssertionError, ValueError, KeyError):
        raise RecipeError(
            f"timm can't parse finetune.rand_augment '{shorten(settings.rand_augment)}'. "
            "Use a policy such as rand-m7-n2-mstd0.5."
        ) from None


def check_network(network: nn.Module, recipe: Recipe) -> None:
    """Raise RecipeError if the network doesn't support the recipe's probe or one of its sizes.

    The network is left in evaluation mode.
    """
    head: Any = network.get_classifier()  # type: ignore[operator]  # a timm network
    architecture = shorten(recipe.model.architecture)
    if recipe.probe and not isinstance(head, nn.Linear | nn.Conv2d):
        raise RecipeError(
            f"{architecture} has no linear head that a probe could set. "
            "Skip the probe with --set probe=false."
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
                f"{architecture} doesn't accept photos of {size} pixels "
                f"({shorten(error, 120).rstrip('.')}). Choose another --image-size."
            ) from None


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Convert PyTorch's out-of-memory errors to a RecipeError that names the settings to change."""
    try:
        yield
    except RuntimeError as error:
        if should_reduce_batch_size(error):
            raise RecipeError(
                "Out of memory. Lower finetune.batch_size, raise finetune.accumulate or choose "
                "smaller image sizes."
            ) from None
        raise
