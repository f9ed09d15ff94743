"""What a run leaves on disk after each epoch, so that a kill costs no more than one."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from flower_model.errors import ModelError
from flower_model.files import atomic_path

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
    best_accuracy: float = -1.0
    run_seconds: float = 0.0


def append_metrics(path: Path, row: dict[str, Any]) -> None:
    """Adds an epoch's figures to metrics.csv, in the place of any that are not older."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            # A kill between metrics and checkpoint leaves a row that the resumed run writes again.
            rows = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, METRICS)
        writer.writeheader()
        writer.writerows(rows)
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def save_checkpoint(
    run: Path, progress: Progress, network: nn.Module, measured: nn.Module, optimizer: Any
) -> None:
    """Writes last.safetensors: weights, their average, the optimiser's state and the progress."""
    tensors = {f"network.{name}": t for name, t in network.state_dict().items()}
    if measured is not network:
        tensors |= {f"average.{name}": t for name, t in measured.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    metadata = {"progress": json.dumps(progress.__dict__)}
    with atomic_path(run / "last.safetensors") as temporary:
        save_file(contiguous(tensors), temporary, metadata)


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
        raise ModelError(f"'{path}' does not fit this run: start again with --overwrite.") from None
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return progress


def contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of tensors on the CPU that safetensors can write."""
    # channels_last convolutions are not contiguous, and safetensors stores nothing else
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
