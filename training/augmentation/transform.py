"""Augmentation of training photos: random crops, colour jitter, style, mixup and CutMix."""

from collections.abc import Callable
from typing import Any

import torch
from timm.data import Mixup, create_transform
from torch import nn
from torchvision.transforms import v2

from training.augmentation.style import Background, StyleShift
from training.recipe import Finetune

Mix = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def train_transform(
    settings: Finetune,
    size: int,
    data_config: dict[str, Any],
    background: Background | None = None,
) -> Any:
    """Create the training transform: timm's, after the style augmentation, or the course report's.

    `data_config` is timm's, of the network; `background` draws the background of photos that are zoomed out.

    Returns:
        A transform from a PIL image to a normalised tensor (3, size, size).
    """
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
    if settings.has_style:
        return v2.Compose([StyleShift(settings, background), transform])
    return transform


def mixup_of(settings: Finetune, classes: int) -> Mix:
    """Create the batch transform: mixup or CutMix with label smoothing, or label smoothing alone.

    The class index `classes` marks a negative: its target is uniform over the classes (outlier exposure,
    Hendrycks et al. 2019).

    Returns:
        A function from pixels and class indices (photos,) to pixels and soft targets (photos, classes).
    """
    mixes = bool(settings.mixup or settings.cutmix)
    mixup = Mixup(
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        prob=settings.mix_probability,
        label_smoothing=settings.label_smoothing,
        num_classes=classes + 1,
    )

    def mix(pixels: torch.Tensor, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if mixes:
            pixels, targets = mixup(pixels, indices)
        else:  # without Mixup, which takes even batches only
            one_hot = nn.functional.one_hot(indices, classes + 1)
            targets = one_hot * (1 - settings.label_smoothing) + settings.label_smoothing / (
                classes + 1
            )
        return pixels, targets[:, :-1] + targets[:, -1:] / classes

    return mix
