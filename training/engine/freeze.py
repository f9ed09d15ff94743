"""Layers near the input that a run leaves as pretraining made them."""

from typing import Any

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from flower_model.errors import RecipeError


def freeze(network: nn.Module, groups: int) -> None:
    """Stops gradients in the first groups of layers; see `train_mode` for their batch norm.

    Args:
        network: A timm network.
        groups: How many of timm's groups, counted from the input: of a ResNet or ConvNeXt the
            stem and its four stages, of a vision transformer the embedding and its blocks.

    Raises:
        RecipeError: If that would leave nothing to train.
    """
    if not groups:
        return
    matcher: Any = network.group_matcher(coarse=True)  # type: ignore[operator]  # timm's have it
    names = group_parameters(network, matcher)
    most = len(names) - 1  # the last group is the head
    if groups > most:
        raise RecipeError(f"finetune.freeze is {groups}; this network allows at most {most}.")
    frozen = {name for group in range(groups) for name in names[group]}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)


def train_mode(network: nn.Module, batch_norm: str = "train") -> None:
    """Training mode, except in frozen layers: batch norm would go on changing its statistics.

    Args:
        network: Of which `freeze` froze some layers or none.
        batch_norm: "frozen" leaves its statistics as they are in all layers.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        frozen = parameters and not any(parameter.requires_grad for parameter in parameters)
        if frozen or (batch_norm == "frozen" and isinstance(module, _BatchNorm)):
            module.eval()
