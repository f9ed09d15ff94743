"""What is done to the photos that train: crops, colours, and two of them blended."""

from collections.abc import Callable
from typing import Any

import torch
from timm.data import Mixup, create_transform
from torch import nn
from torchvision.transforms import v2

from training.data.style import Background, StyleShift
from training.recipe import Finetune

Mix = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def train_transform(
    settings: Finetune,
    size: int,
    data_config: dict[str, Any],
    background: Background | None = None,
) -> Any:
    """timm's training transform at `size` pixels, or the report's resize, centre crop and flip."""
    common = {key: data_config[key] for key in ("interpolation", "mean", "std")}
    if settings.augment == "centre-crop-flip":
        return v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                create_transform(size, crop_pct=data_config["crop_pct"], **common),
            ]
        )
    transform = create_transform(
        size,
        is_training=True,
        scale=(settings.min_crop, 1.0),
        hflip=0.5,
        color_jitter=settings.colour_jitter,
        auto_augment=settings.rand_augment or None,
        re_prob=settings.random_erasing,
        **common,
    )
    if settings.zoom_out or settings.tile or settings.degrade:
        return v2.Compose([StyleShift(settings, background), transform])
    return transform


def mixup_of(settings: Finetune, classes: int) -> Mix:
    """What blends a batch's photos by mixup or cutmix, or else smooths its labels alone.

    Index `classes` stands for a negative, whose target is the same for every class (outlier exposure,
    Hendrycks et al. 2019).

    Returns:
        From pixels and class indices (photos,) to pixels and soft targets (photos, classes).
    """
    if settings.mixup or settings.cutmix:
        blend = Mixup(
            mixup_alpha=settings.mixup,
            cutmix_alpha=settings.cutmix,
            prob=settings.mix_probability,
            label_smoothing=settings.label_smoothing,
            num_classes=classes + 1,
        )
        return lambda pixels, targets: _spread(*blend(pixels, targets))
    off, on = settings.label_smoothing / classes, 1 - settings.label_smoothing

    def smooth(pixels: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _spread(pixels, nn.functional.one_hot(targets, classes + 1) * on + off)

    return smooth


def _spread(pixels: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Divides the last column of soft targets (photos, classes + 1) among the classes."""
    return pixels, targets[:, :-1] + targets[:, -1:] / (targets.shape[1] - 1)
