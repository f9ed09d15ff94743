"""Checkpoints after every epoch: an interrupted run loses at most one epoch."""

import csv
import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from flower_model.errors import ModelError, shorten
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
    """The state of a run that a checkpoint stores beside its tensors.

    Attributes:
        epoch: Epochs completed.
        best_epoch: The epoch with the best held-out metrics; 0 is the probe, -1 none so far.
        best_accuracy, best_loss: Its held-out accuracy and log loss.
        phases: Seconds so far, as in `training.engine.clock.Clock`.
        metrics: The rows of metrics.csv so far.
    """

    epoch: int = 0
    best_epoch: int = -1
    best_accuracy: float = -1.0
    best_loss: float = math.inf
    phases: dict[str, float] = field(default_factory=dict)
    metrics: tuple[dict[str, Any], ...] = ()

    def add(self, row: dict[str, Any]) -> "Progress":
        """Append the metrics of the current epoch, which may be the best one.

        The higher held-out accuracy wins. With few held-out photos it is often equal, and then the
        lower log loss wins.
        """
        progress = replace(self, metrics=(*self.metrics, row))
        accuracy, loss = row["val_accuracy"], row["val_loss"]
        if (accuracy, -loss) <= (self.best_accuracy, -self.best_loss):
            return progress
        return replace(progress, best_epoch=self.epoch, best_accuracy=accuracy, best_loss=loss)


def save_checkpoint(
    run: Path, progress: Progress, network: nn.Module, evaluated: nn.Module, optimizer: Any
) -> None:
    """Write last.safetensors, then best.safetensors and metrics.csv, which follow from it.

    Only last.safetensors decides where a run resumes. If writing it is interrupted, the run
    repeats the epoch; if writing the other two is, resuming writes them again.

    `evaluated` is the network that is validated: the moving average of `network`, or `network` itself.
    """
    tensors = {f"network.{name}": t for name, t in network.state_dict().items()}
    if evaluated is not network:
        tensors |= {f"average.{name}": t for name, t in evaluated.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    metadata = {"progress": json.dumps(asdict(progress))}
    with atomic_path(run / "last.safetensors") as temporary:
        save_file(contiguous(tensors), temporary, metadata)
    write_results(run, progress, evaluated)


def write_results(run: Path, progress: Progress, evaluated: nn.Module) -> None:
    """Write metrics.csv and, if the last epoch is the best one, best.safetensors."""
    if progress.best_epoch == progress.epoch:
        metadata = {"epoch": str(progress.epoch), "accuracy": str(progress.best_accuracy)}
        with atomic_path(run / "best.safetensors") as temporary:
            save_file(contiguous(evaluated.state_dict()), temporary, metadata)
    with (
        atomic_path(run / "metrics.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, METRICS)
        writer.writeheader()
        for row in progress.metrics:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def load_checkpoint(
    run: Path, network: nn.Module, evaluated: nn.Module, optimizer: Any
) -> Progress:
    """Restore the network, its moving average and the optimizer from last.safetensors.

    Raises:
        ModelError: If the file is damaged or belongs to another run.
    """
    path = run / "last.safetensors"
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
    try:
        with safe_open(path, "pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            for name in file.keys():  # noqa: SIM118  # safe_open is not a dict
                part, _, rest = name.partition(".")
                parts[part][rest] = file.get_tensor(name)
        network.load_state_dict(parts["network"])
        if evaluated is not network:
            evaluated.load_state_dict(parts["average"])
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError):
        raise _mismatch(path) from None
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape:
                # A fused optimizer walks parameter and state in memory order, and the order of a
                # channels_last parameter differs from that of the contiguous tensor in the file.
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return replace(progress, metrics=tuple(progress.metrics))


def load_best(run: Path, network: nn.Module) -> None:
    """Load best.safetensors into a network.

    Raises:
        ModelError: If the file is missing, damaged or belongs to another run.
    """
    path = run / "best.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError):
        raise _mismatch(path) from None


def contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return contiguous copies on the CPU: safetensors can't write channels_last tensors."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _mismatch(path: Path) -> ModelError:
    return ModelError(
        f"'{shorten(path, 120)}' is damaged or belongs to another run. "
        "Start again with --overwrite."
    )
