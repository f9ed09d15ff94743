"""Frozen layers stay exactly as they were; the others learn."""

import pytest
import timm
import torch
from torch import nn

from flower_model.errors import RecipeError
from training.engine.freeze import freeze, train_mode


def one_step(network: nn.Module) -> dict[str, torch.Tensor]:
    """The network's state before a training step, which it takes."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_mode(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    return before


def moved(network: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    """The first parts of the names of what a step changed."""
    after = network.state_dict()
    return {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}


def test_without_freezing_every_layer_moves():
    network = timm.create_model("resnet18", num_classes=3)
    freeze(network, 0)
    before = one_step(network)
    assert moved(network, before) == {name for name, _ in network.named_children()} - {
        "act1",
        "maxpool",
        "global_pool",
    }


def test_frozen_groups_keep_weights_and_batch_norm_statistics():
    network = timm.create_model("resnet18", num_classes=3)
    freeze(network, 3)
    before = one_step(network)
    assert moved(network, before) == {"layer3", "layer4", "fc"}


def test_all_but_the_head_can_be_frozen():
    network = timm.create_model("resnet18", num_classes=3)
    freeze(network, 5)
    assert moved(network, one_step(network)) == {"fc"}


def test_groups_are_those_of_each_architecture():
    network = timm.create_model("convnext_atto", num_classes=3)
    freeze(network, 2)
    stem, stages = network.stem, network.stages  # the second group is the first stage
    assert not any(p.requires_grad for p in [*stem.parameters(), *stages[0].parameters()])
    assert all(p.requires_grad for p in stages[1:].parameters())


def test_freezing_everything_is_refused():
    network = timm.create_model("resnet18", num_classes=3)
    with pytest.raises(RecipeError, match="at most 5"):
        freeze(network, 6)


def test_batch_norm_alone_can_be_frozen():
    network = timm.create_model("resnet18", num_classes=3)
    before = {name: b.clone() for name, b in network.named_buffers() if "running" in name}
    train_mode(network, "frozen")
    network(torch.randn(4, 3, 64, 64))
    after = dict(network.named_buffers())
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert network.layer4[0].bn1.weight.requires_grad  # it still scales what it is told to
