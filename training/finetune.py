"""The epochs: all layers move, their running average is validated, and a kill costs one epoch."""

import ctypes
import math
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from timm.data import Mixup, create_transform, resolve_data_config
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from tqdm import tqdm

from flower_model.confidence import log_loss
from flower_model.errors import ModelError
from flower_model.files import atomic_path
from training.checkpoint import (
    Progress,
    append_metrics,
    contiguous,
    load_checkpoint,
    save_checkpoint,
)
from training.data import BalancedSampler, Photos, TransformedPhotos
from training.forward import WORKERS, forward_photos
from training.frozen import freeze, train_mode
from training.recipe import Finetune, Recipe


def finetune(
    network: nn.Module,
    photos: Photos,
    recipe: Recipe,
    run: Path,
    *,
    accelerator: Accelerator,
    bf16: bool,
    resume: bool,
) -> tuple[nn.Module, float]:
    """Trains the layers of `network` that are not frozen, for the recipe's epochs.

    After each epoch `run` holds metrics.csv, last.safetensors (all that `resume` needs) and
    best.safetensors (the averaged weights of the epoch with the best held-out accuracy).

    Args:
        network: A timm network, its head already set by the probe or fresh.
        photos: Decoded photos with their class indices.
        recipe: The run.
        run: Its folder.
        accelerator: Hugging Face Accelerate's, which knows device and processes.
        bf16: Whether validation runs in bf16.
        resume: Go on from last.safetensors.

    Returns:
        The network with the weights that `recipe.finetune.keep` names, and the run's seconds.
    """
    settings = recipe.finetune
    freeze(network, settings.freeze)
    steps = max(1, len(photos.train) // settings.batch_size)
    optimizer = create_optimizer_v2(
        network,
        opt=settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay if settings.layer_decay < 1 else None,
        fused=settings.optimizer in ("adam", "adamw", "sgd"),
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=settings.scheduler,
        num_epochs=settings.epochs,
        warmup_epochs=settings.warmup_epochs,  # type: ignore[arg-type]  # timm takes fractions too
        warmup_lr=0.0,
        decay_epochs=settings.step_epochs,
        decay_rate=0.1,
        step_on_epochs=settings.scheduler == "step",
        updates_per_epoch=steps,
    )
    average = (
        ModelEmaV3(network, decay=settings.ema_decay, use_warmup=True)
        if settings.ema_decay
        else None
    )
    measured = average.module if average else network
    progress = Progress()
    if resume:
        progress = load_checkpoint(run, network, measured, optimizer)
        print(f"Going on after epoch {progress.epoch} of {settings.epochs}.")
    elif recipe.probe:
        progress = _validate(measured, photos, progress, recipe, run, accelerator, bf16, {})
    model, prepared_optimizer = accelerator.prepare(network, optimizer)

    for epoch in range(progress.epoch, settings.epochs):
        started = time.monotonic()
        size = settings.size_of(epoch)
        train = _train_epoch(
            model, average, prepared_optimizer, scheduler, photos, recipe, epoch, size, accelerator
        )
        train |= {"image_size": size, "epoch_seconds": time.monotonic() - started}
        progress = replace(progress, epoch=epoch + 1)
        progress = _validate(measured, photos, progress, recipe, run, accelerator, bf16, train)
        save_checkpoint(run, progress, network, measured, optimizer)

    if settings.keep == "best" and (run / "best.safetensors").exists():
        measured.load_state_dict(load_file(run / "best.safetensors"))
    return measured, progress.run_seconds


def _train_epoch(
    model: nn.Module,
    average: ModelEmaV3 | None,
    optimizer: Any,
    scheduler: Any,
    photos: Photos,
    recipe: Recipe,
    epoch: int,
    size: int,
    accelerator: Accelerator,
) -> dict[str, Any]:
    settings = recipe.finetune
    data_config = resolve_data_config({}, model=accelerator.unwrap_model(model))
    # All randomness of an epoch follows from the recipe's seed and the epoch's number, so that
    # a resumed run draws what the unbroken one would have drawn.
    seed = recipe.seed * 100_003 + epoch
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    transform = train_transform(settings, size, data_config)
    dataset = TransformedPhotos(photos.train, photos.train_targets, transform)
    sampler = BalancedSampler(photos.train_targets, recipe.data.balance, recipe.seed, epoch)
    loader: Any = DataLoader(
        dataset,
        settings.batch_size,
        sampler=sampler,
        drop_last=len(dataset) >= settings.batch_size,
        num_workers=WORKERS,
        worker_init_fn=_seed_worker,
    )
    loader = accelerator.prepare(loader)
    mix = _mixup(settings, len(photos.labels))
    loss_of = SoftTargetCrossEntropy()
    steps = len(loader)
    loss_sum = correct = seen = 0.0

    train_mode(model)
    scheduler.step(epoch)
    with tqdm(total=len(dataset), desc=f"epoch {epoch + 1}", unit=" photos", leave=False) as bar:
        for step, (pixels, targets) in enumerate(loader):
            update = epoch * steps + step
            scheduler.step_update(update)
            pixels = pixels.to(memory_format=torch.channels_last)
            pixels, soft_targets = mix(pixels, targets)
            logits = model(pixels)
            loss = loss_of(logits, soft_targets)
            accelerator.backward(loss)
            if settings.clip_grad:
                accelerator.clip_grad_norm_(model.parameters(), settings.clip_grad)
            optimizer.step()
            optimizer.zero_grad()
            if average is not None:
                average.update(accelerator.unwrap_model(model), step=update)

            # With mixup a photo counts as correct when its stronger half is named.
            hits = logits.argmax(1) == soft_targets.argmax(1)
            loss_sum += loss.item() * len(targets)
            correct += hits.sum().item()
            seen += len(targets)
            bar.update(len(targets) * accelerator.num_processes)
            bar.set_postfix_str(f"loss {loss_sum / seen:.3f}", refresh=False)
            if not math.isfinite(loss_sum):
                raise ModelError(
                    f"The loss is no longer a number in epoch {epoch + 1}: lower finetune.lr."
                )
    return {
        "lr": max(group["lr"] for group in optimizer.param_groups),
        "train_loss": loss_sum / seen,
        "train_accuracy": correct / seen,
    }


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


def _mixup(settings: Finetune, classes: int) -> Any:
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


def _seed_worker(worker: int) -> None:
    seed = torch.initial_seed() % 2**32  # DataLoader gives each worker its own, from the epoch's
    np.random.seed(seed)
    random.seed(seed)


def _validate(
    network: nn.Module,
    photos: Photos,
    progress: Progress,
    recipe: Recipe,
    run: Path,
    accelerator: Accelerator,
    bf16: bool,
    train: dict[str, Any],
) -> Progress:
    """Measures the held-out photos, prints the epoch's line, writes metrics and the best weights."""
    data_config = resolve_data_config({}, model=network)
    logits, _ = forward_photos(
        network,
        photos.val,
        create_transform(**data_config),
        device=accelerator.device,
        bf16=bf16,
        title="validating",
    )
    accuracy = float((logits.argmax(1) == photos.val_targets).mean())
    loss = log_loss(logits, photos.val_targets)
    progress = replace(progress, run_seconds=progress.run_seconds + seconds_since_last())
    row = {"epoch": progress.epoch, **train, "val_loss": loss, "val_accuracy": accuracy}
    row["run_seconds"] = progress.run_seconds
    if accelerator.is_main_process:
        append_metrics(run / "metrics.csv", row)
        shown = (
            f"train loss {row['train_loss']:.3f} accuracy {100 * row['train_accuracy']:.2f} %"
            if train
            else "linear probe"
        )
        print(
            f"epoch {progress.epoch:2d}/{recipe.finetune.epochs}  {shown}  "
            f"val loss {loss:.3f} accuracy {100 * accuracy:.2f} %  "
            f"({progress.run_seconds:.0f} s since start)",
            flush=True,
        )
    if accuracy > progress.best_accuracy:
        progress = replace(progress, best_accuracy=accuracy)
        if accelerator.is_main_process:
            with atomic_path(run / "best.safetensors") as temporary:
                save_file(contiguous(network.state_dict()), temporary)
    return progress


_last_time = psutil.Process().create_time()


def seconds_since_last() -> float:
    """Seconds since the previous call, or since the process started."""
    global _last_time
    now = time.time()
    seconds, _last_time = now - _last_time, now
    return seconds


def keep_freed_memory() -> None:
    """Makes glibc reuse freed memory: returning it after every step cost 11 % of the step's time."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap does not shrink
