"""Checkpoints: with every optimizer, a resumed run takes the steps of an uninterrupted one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn

from flower_model.errors import ModelError
from training.engine.checkpoint import Progress, load_checkpoint, save_checkpoint

# Those that `check_settings` refuses: see test_preflight.
REFUSED = ["fused*", "bnb*", "adahessian"]


@pytest.mark.filterwarnings("ignore:It is highly recommended to have .opt_einsum.")
@pytest.mark.parametrize("name", list_optimizers(exclude_filters=REFUSED))
def test_resumed_optimizer_takes_the_steps_of_an_uninterrupted_one(name, tmp_path):
    with torch.compiler.set_stance("force_eager"):  # kron compiles its functions slowly
        network, optimizer = new_run(name)
        take_steps(network, optimizer, range(3))
        save_checkpoint(tmp_path, Progress(), network, network, optimizer)
        take_steps(network, optimizer, range(3, 6))
        again = resumed_optimizer(tmp_path, name, network)
    assert same(again.state_dict(), optimizer.state_dict())


def test_checkpoint_of_another_network_is_refused(tmp_path):
    network, optimizer = new_run("adamw")
    save_checkpoint(tmp_path, Progress(), network, network, optimizer)
    other = nn.Linear(2, 2)
    with pytest.raises(ModelError, match="last.safetensors' is damaged or belongs to another run"):
        load_checkpoint(tmp_path, other, other, create_optimizer_v2(other, "adamw", lr=1e-3))


def new_run(name: str, seed: int = 0) -> tuple[nn.Module, Any]:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, groups=8)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 3))
    network = network.to(memory_format=torch.channels_last)
    fused: Any = {"fused": True} if name == "adamw" else {}
    return network, create_optimizer_v2(network, name, lr=1e-3, weight_decay=0.05, **fused)


def take_steps(network: nn.Module, optimizer: Any, numbers: Iterable[int]) -> None:
    for number in numbers:
        torch.manual_seed(number)
        pixels = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
        nn.functional.cross_entropy(network(pixels), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        optimizer.zero_grad()


def same(here: Any, there: Any) -> bool:
    """Return whether two optimizer states are equal to the bit."""
    if isinstance(there, torch.Tensor):
        return here.dtype == there.dtype and torch.equal(here, there)
    if isinstance(there, dict):
        return here.keys() == there.keys() and all(same(here[key], there[key]) for key in there)
    if isinstance(there, list | tuple):
        return len(here) == len(there) and all(map(same, here, there))
    return bool(here == there)


def resumed_optimizer(run: Path, name: str, network: nn.Module) -> Any:
    """Take three steps from the checkpoint, which must give the weights of `network`."""
    resumed, optimizer = new_run(name, seed=1)
    load_checkpoint(run, resumed, resumed, optimizer)
    take_steps(resumed, optimizer, range(3, 6))
    here, there = resumed.state_dict(), network.state_dict()
    assert all(torch.equal(here[key], there[key]) for key in there)
    return optimizer
