"""Freezing: frozen layers are bit-identical after a step, the others change."""

import pytest
import timm
import torch
from torch import nn

from flower_model.errors import RecipeError
from training.engine.freeze import freeze, train_mode


def one_step(network: nn.Module) -> dict[str, torch.Tensor]:
    """Take a training step; return the network's state before it."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_mode(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    return before


def changed(network: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    """Return the top-level modules whose state a step changed."""
    after = network.state_dict()
    return {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}


def test_every_layer_is_trained_without_freezing():
    network = timm.create_model("resnet18", num_classes=3)
    freeze(network, 0)
    before = one_step(network)
    assert changed(network, before) == {name for name, _ in network.named_children()} - {
        "act1",
        "maxpool",
        "global_pool",
    }


def test_frozen_groups_keep_their_weights_and_batch_norm_statistics():
    network = timm.create_model("resnet18", num_classes=3)
    freeze(network, 3)
    before = one_step(network)
    assert changed(network, before) == {"layer3", "layer4", "fc"}


def test_everything_but_the_head_can_be_frozen():
    network = timm.create_model("resnet18", num_classes=3)
    freeze(network, 5)
    assert changed(network, one_step(network)) == {"fc"}


def test_layer_groups_depend_on_the_architecture():
    network = timm.create_model("convnext_atto", num_classes=3)
    freeze(network, 2)
    stem, stages = network.stem, network.stages  # group 2 is the first stage
    assert not any(p.requires_grad for p in [*stem.parameters(), *stages[0].parameters()])
    assert all(p.requires_grad for p in stages[1:].parameters())


def test_freezing_the_head_too_is_rejected():
    network = timm.create_model("resnet18", num_classes=3)
    with pytest.raises(RecipeError, match="at most 5"):
        freeze(network, 6)


def test_batch_norm_statistics_can_be_frozen_alone():
    network = timm.create_model("resnet18", num_classes=3)
    before = {name: b.clone() for name, b in network.named_buffers() if "running" in name}
    train_mode(network, "frozen")
    network(torch.randn(4, 3, 64, 64))
    after = dict(network.named_buffers())
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert network.layer4[0].bn1.weight.requires_grad  # its scale is still trained
