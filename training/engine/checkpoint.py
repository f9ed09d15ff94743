"""What a run leaves on disk after each epoch, so that a kill costs no more than one."""

import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from flower_model.errors import ModelError
from flower_model.system.files import atomic_path

METRICS = [
    "epoch",
    "image_size",
    "lr",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "epoch_seconds",
    "run_seconds",
]


@dataclass(frozen=True)
class Progress:
    """How far a run is: what a checkpoint stores beside its tensors."""

    epoch: int = 0
    best_epoch: int = -1
    """The epoch with the best held-out accuracy; 0 is the probe, -1 none yet."""
    best_accuracy: float = -1.0
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds so far, as `training.engine.clock.Clock` counts them."""
    metrics: tuple[dict[str, Any], ...] = ()
    """The rows of metrics.csv so far."""


def save_checkpoint(
    run: Path, progress: Progress, network: nn.Module, measured: nn.Module, optimizer: Any
) -> None:
    """Writes last.safetensors (weights, their average, optimiser, progress), then what follows from it.

    It is the one file that says how far the run is. A kill before it is complete takes the run
    back by an epoch; the others are written from it again when the run goes on.
    """
    tensors = {f"network.{name}": t for name, t in network.state_dict().items()}
    if measured is not network:
        tensors |= {f"average.{name}": t for name, t in measured.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    metadata = {"progress": json.dumps(progress.__dict__)}
    with atomic_path(run / "last.safetensors") as temporary:
        save_file(contiguous(tensors), temporary, metadata)
    write_results(run, progress, measured)


def write_results(run: Path, progress: Progress, measured: nn.Module) -> None:
    """Writes best.safetensors, if the last epoch is the best one, and metrics.csv."""
    if progress.best_epoch == progress.epoch:
        metadata = {"epoch": str(progress.epoch), "accuracy": str(progress.best_accuracy)}
        with atomic_path(run / "best.safetensors") as temporary:
            save_file(contiguous(measured.state_dict()), temporary, metadata)
    with (
        atomic_path(run / "metrics.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, METRICS)
        writer.writeheader()
        for row in progress.metrics:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def load_checkpoint(run: Path, network: nn.Module, measured: nn.Module, optimizer: Any) -> Progress:
    """Puts last.safetensors back into network, average and optimiser.

    Raises:
        ModelError: If the file is damaged or of another run.
    """
    path = run / "last.safetensors"
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
    try:
        with safe_open(path, "pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            for name in file.keys():  # noqa: SIM118  # safe_open is no dict
                part, _, rest = name.partition(".")
                parts[part][rest] = file.get_tensor(name)
        network.load_state_dict(parts["network"])
        if measured is not network:
            measured.load_state_dict(parts["average"])
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError):
        raise _does_not_fit(path) from None
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape:
                # The fused optimiser goes through both in the order in which they lie in memory,
                # and a channels_last weight lies otherwise than what was stored.
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return replace(progress, metrics=tuple(progress.metrics))


def load_best(run: Path, network: nn.Module) -> None:
    """Puts best.safetensors into a network.

    Raises:
        ModelError: If the file is gone, damaged or of another run.
    """
    path = run / "best.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError):
        raise _does_not_fit(path) from None


def _does_not_fit(path: Path) -> ModelError:
    return ModelError(f"'{path}' does not fit this run: start again with --overwrite.")


def contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of tensors on the CPU that safetensors can write."""
    # channels_last convolutions are not contiguous, and safetensors stores nothing else
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
