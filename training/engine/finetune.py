"""Fine-tuning: train the unfrozen layers, validate their moving average, checkpoint every epoch."""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import tqdm
from timm.data import resolve_data_config
from timm.layers import convert_sync_batchnorm
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn

from flower_model.confidence import log_loss
from flower_model.errors import ModelError
from training.augmentation.transform import mixup_of, train_transform
from training.data.loader import batch_plan, load_batches
from training.data.sampling import Photos
from training.engine.checkpoint import (
    Progress,
    load_best,
    load_checkpoint,
    save_checkpoint,
    write_results,
)
from training.engine.clock import Clock
from training.engine.freeze import freeze, train_mode
from training.engine.inference import compute_of, predict_distributed, torch_runtime
from training.recipe import Recipe


@dataclass(frozen=True)
class _Session:
    """The arguments that every epoch needs; see `finetune`."""

    photos: Photos
    recipe: Recipe
    accelerator: Accelerator
    clock: Clock


def finetune(
    network: nn.Module,
    photos: Photos,
    recipe: Recipe,
    run: Path,
    *,
    accelerator: Accelerator,
    clock: Clock,
    resume: bool,
) -> nn.Module:
    """Train the layers of `network` that are not frozen, for the epochs of the recipe.

    After each epoch, `run` contains last.safetensors (the state to resume from), best.safetensors
    (the moving average of the weights at the best epoch) and metrics.csv.

    Args:
        network: A timm network whose head was set by the probe or initialised at random.
        photos: Decoded photos with their class indices.
        recipe: The recipe of the run.
        run: The run's folder.
        accelerator: The device and the processes.
        clock: The run's clock.
        resume: Continue from last.safetensors.

    Returns:
        The network with the weights of the epoch that `recipe.finetune.keep` selects.
    """
    session = _Session(photos, recipe, accelerator, clock)
    settings = recipe.finetune
    if settings.sync_batch_norm and accelerator.num_processes > 1:
        network = convert_sync_batchnorm(network)
    freeze(network, settings.freeze)
    batch_size, steps = batch_plan(photos.count, settings, accelerator.num_processes)
    if batch_size < settings.batch_size and settings.epochs:
        accelerator.print(f"Few photos: {steps} steps of {batch_size} photos per epoch.")
    fused: Any = {"fused": True} if settings.optimizer in ("adam", "adamw", "sgd") else {}
    optimizer = create_optimizer_v2(
        network,
        opt=settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay if settings.layer_decay < 1 else None,
        **fused,
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=settings.scheduler,
        num_epochs=max(1, settings.epochs),  # 0 epochs: the probe is the model
        warmup_epochs=settings.warmup_epochs,  # type: ignore[arg-type]  # timm accepts fractions
        warmup_lr=0.0,
        decay_epochs=settings.step_epochs,
        decay_rate=0.1,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    average = (
        ModelEmaV3(network, decay=settings.ema_decay, use_warmup=True)
        if settings.ema_decay
        else None
    )
    evaluated = average.module if average else network
    progress = Progress()
    if resume:
        progress = load_checkpoint(run, network, evaluated, optimizer)
        clock.add(progress.phases)
        accelerator.print(f"Resuming after epoch {progress.epoch} of {settings.epochs}.")
    elif recipe.probe:
        progress = _validate(session, evaluated, progress, {})
    if accelerator.is_main_process:
        write_results(run, progress, evaluated)
    accelerator.gradient_accumulation_steps = settings.accumulate
    model, prepared_optimizer = accelerator.prepare(network, optimizer)

    clock.lap("start")
    for epoch in range(progress.epoch, settings.epochs):
        train = _train_epoch(session, model, average, prepared_optimizer, scheduler, epoch)
        train["epoch_seconds"] = clock.lap("training")
        progress = replace(progress, epoch=epoch + 1)
        progress = _validate(session, evaluated, progress, train)
        if accelerator.is_main_process:
            save_checkpoint(run, progress, network, evaluated, optimizer)
        clock.lap("checkpoints")

    accelerator.wait_for_everyone()
    if settings.keep == "best" and 0 <= progress.best_epoch < progress.epoch:
        load_best(run, evaluated)
    return evaluated


def _train_epoch(
    session: _Session,
    model: nn.Module,
    average: ModelEmaV3 | None,
    optimizer: Any,
    scheduler: Any,
    epoch: int,
) -> dict[str, Any]:
    photos, recipe, accelerator = session.photos, session.recipe, session.accelerator
    settings = recipe.finetune
    network = accelerator.unwrap_model(model, keep_torch_compile=False)
    data_config = resolve_data_config({}, model=network)
    # The randomness of an epoch depends only on the recipe's seed and the epoch number, so that a
    # resumed run is identical to an uninterrupted one.
    seed = recipe.seed * 100_003 + epoch
    np.random.seed(seed)  # for mixup: the same in all processes
    torch.manual_seed(seed + 50_021 * accelerator.process_index)  # for dropout: different
    size = settings.size_of(epoch)
    negatives = photos.outliers.negatives
    background = negatives.random_image if negatives else None
    transform = train_transform(settings, size, data_config, background)
    loader = load_batches(photos, recipe, epoch, transform, seed, accelerator)
    batch_size, steps = batch_plan(photos.count, settings, accelerator.num_processes)
    mix = mixup_of(settings, len(photos.labels))
    loss_of = SoftTargetCrossEntropy()
    update = epoch * steps
    loss_sum = correct = seen = 0.0

    # A batch norm layer can't take statistics from a single photo.
    is_single = batch_size == settings.accumulate * accelerator.num_processes
    train_mode(model, "frozen" if is_single else settings.batch_norm)
    with tqdm(
        total=steps * batch_size, desc=f"epoch {epoch + 1}", unit=" photos", leave=False
    ) as bar:
        for pixels, targets in loader:
            scheduler.step_update(update)
            pixels = pixels.to(memory_format=torch.channels_last)
            pixels, soft_targets = mix(pixels, targets)
            with accelerator.accumulate(model):
                logits = model(pixels)
                loss = loss_of(logits, soft_targets)
                accelerator.backward(loss)
                if settings.clip_grad and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), settings.clip_grad)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:  # the last part of the batch
                if average is not None:
                    average.update(network, step=update)
                update += 1

            # With mixup, the class with the larger weight is the target.
            hits = logits.argmax(1) == soft_targets.argmax(1)
            loss_sum += loss.item() * len(targets)
            correct += hits.sum().item()
            seen += len(targets)
            bar.update(len(targets) * accelerator.num_processes)
            bar.set_postfix_str(f"loss {loss_sum / seen:.3f}", refresh=False)
            if not math.isfinite(loss_sum):
                raise ModelError(f"The loss is not finite in epoch {epoch + 1}. Lower finetune.lr.")
    sums = torch.tensor([loss_sum, correct, seen], device=accelerator.device)
    loss_sum, correct, seen = accelerator.reduce(sums).tolist()
    return {
        "image_size": size,
        "lr": max(group["lr"] for group in optimizer.param_groups),
        "train_loss": loss_sum / seen,
        "train_accuracy": correct / seen,
    }


def _validate(
    session: _Session, network: nn.Module, progress: Progress, train: dict[str, Any]
) -> Progress:
    """Evaluate on the held-out photos, print the epoch's metrics and add them to the progress."""
    photos, accelerator, clock = session.photos, session.accelerator, session.clock
    make_runtime = partial(torch_runtime, network, compute_of(accelerator))
    logits, _ = predict_distributed(network, make_runtime, photos.val, title="validating")
    accuracy = float((logits.argmax(1) == photos.val_targets).mean())
    loss = log_loss(logits, photos.val_targets)
    clock.lap("validation")
    progress = replace(progress, phases=dict(clock.phases))
    row = {"epoch": progress.epoch, **train, "val_loss": loss, "val_accuracy": accuracy}
    row["run_seconds"] = clock.seconds
    if accelerator.is_main_process:
        shown = (
            f"train loss {row['train_loss']:.3f} accuracy {100 * row['train_accuracy']:.2f} %"
            if train
            else "linear probe"
        )
        print(
            f"epoch {progress.epoch:2d}/{session.recipe.finetune.epochs}  {shown}  "
            f"val loss {loss:.3f} accuracy {100 * accuracy:.2f} %  "
            f"({clock.seconds:.0f} s since start)",
            flush=True,
        )
    accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=progress.epoch)
    return progress.add(row)
