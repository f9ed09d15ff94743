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
    packed = _pack_optimizer(optimizer, tensors)
    metadata = {"progress": json.dumps(asdict(progress)), "optimizer": json.dumps(packed)}
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
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        progress = Progress(**json.loads(metadata["progress"]))
        network.load_state_dict(_part(tensors, "network."))
        if evaluated is not network:
            evaluated.load_state_dict(_part(tensors, "average."))
        state = _unpack_optimizer(metadata, tensors, optimizer)
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError):
        raise _mismatch(path) from None
    optimizer.load_state_dict(state)
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


def _pack_optimizer(optimizer: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return an optimizer's state as JSON values, and add its tensors to `tensors`."""
    state = optimizer.state_dict()
    # Some optimizers count their steps in the parameter groups, whose other numbers are settings.
    groups = [
        {key: n for key, n in group.items() if isinstance(n, int | float | torch.Tensor)}
        for group in state["param_groups"]
    ]
    return _pack(state | {"param_groups": groups}, "optimizer", tensors)


def _unpack_optimizer(
    metadata: dict[str, str], tensors: dict[str, torch.Tensor], optimizer: Any
) -> dict[str, Any]:
    """Return the argument for the `load_state_dict` of a new optimizer with the same settings."""
    new = optimizer.state_dict()
    packed = _unpack(json.loads(metadata["optimizer"]), tensors)
    groups = zip(new["param_groups"], packed["param_groups"], strict=True)
    return packed | {
        "state": {int(index): values for index, values in packed["state"].items()},
        "param_groups": [group | numbers for group, numbers in groups],
    }


def _pack(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Replace tensors in a nested value by their names and strides, and mark tuples."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"tensor": name, "stride": value.stride()}
    if isinstance(value, dict):
        return {key: _pack(item, f"{name}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    return value


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the value that `_pack` was given, with strings as keys."""
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"tuple"}:
        return tuple(_unpack(value["tuple"], tensors))
    if value.keys() == {"tensor", "stride"}:
        # A fused optimizer walks parameter and state in memory order, sums are rounded in it, and
        # the order of a channels_last tensor differs from that of the contiguous one in the file.
        tensor = tensors[value["tensor"]]
        return torch.empty_strided(tensor.shape, value["stride"], dtype=tensor.dtype).copy_(tensor)
    return {key: _unpack(item, tensors) for key, item in value.items()}


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _mismatch(path: Path) -> ModelError:
    return ModelError(
        f"'{shorten(path, 120)}' is damaged or belongs to another run. "
        "Start again with --overwrite."
    )
