"""Frozen layers: no gradients, and batch norm statistics that stay fixed."""

from typing import Any

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from flower_model.errors import RecipeError


def freeze(network: nn.Module, groups: int) -> None:
    """Disable gradients in the first layer groups; `train_mode` freezes their batch norm.

    Args:
        network: A timm network.
        groups: Number of timm's layer groups, counted from the input: the stem and the four stages
            of a ResNet or ConvNeXt, the embedding and the blocks of a vision transformer.

    Raises:
        RecipeError: If no layer would be left to train.
    """
    if not groups:
        return
    matcher: Any = network.group_matcher(coarse=True)  # type: ignore[operator]  # a timm network
    names = group_parameters(network, matcher)
    most = len(names) - 1  # the last group is the head
    if groups > most:
        raise RecipeError(f"finetune.freeze is {groups}; this network allows at most {most}.")
    frozen = {name for group in range(groups) for name in names[group]}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)


def train_mode(network: nn.Module, batch_norm: str = "train") -> None:
    """Switch to training mode, except for frozen layers, whose batch norm would still be updated.

    With `batch_norm="frozen"`, batch norm keeps its running statistics in every layer.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        frozen = parameters and not any(parameter.requires_grad for parameter in parameters)
        if frozen or (batch_norm == "frozen" and isinstance(module, _BatchNorm)):
            module.eval()
