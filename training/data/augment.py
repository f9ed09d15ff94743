"""What is done to the photos that train: crops, colours, and two of them blended."""

from collections.abc import Callable
from typing import Any

import torch
from timm.data import Mixup, create_transform
from torch import nn
from torchvision.transforms import v2

from training.recipe import Finetune

Mix = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def train_transform(settings: Finetune, size: int, data_config: dict[str, Any]) -> Any:
    """timm's training transform at `size` pixels, or the report's resize, centre crop and flip."""
    common = {key: data_config[key] for key in ("interpolation", "mean", "std")}
    if settings.augment == "centre-crop-flip":
        return v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                create_transform(size, crop_pct=data_config["crop_pct"], **common),
            ]
        )
    return create_transform(
        size,
        is_training=True,
        scale=(settings.min_crop, 1.0),
        hflip=0.5,
        color_jitter=settings.colour_jitter,
        auto_augment=settings.rand_augment or None,
        re_prob=settings.random_erasing,
        **common,
    )


def mixup_of(settings: Finetune, classes: int) -> Mix:
    """What blends a batch's photos by mixup or cutmix, or else smooths its labels alone.

    Returns:
        From pixels and class indices (photos,) to pixels and soft targets (photos, classes).
    """
    if settings.mixup or settings.cutmix:
        return Mixup(
            mixup_alpha=settings.mixup,
            cutmix_alpha=settings.cutmix,
            prob=settings.mix_probability,
            label_smoothing=settings.label_smoothing,
            num_classes=classes,
        )
    off, on = settings.label_smoothing / classes, 1 - settings.label_smoothing

    def smooth(pixels: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels, nn.functional.one_hot(targets, classes) * on + off

    return smooth
