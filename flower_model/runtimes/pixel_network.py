"""Wrapper that feeds raw pixels to a timm network and also returns features and activation maps."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from timm.data.config import resolve_data_config
from torch import nn

from flower_model.errors import ModelError, shorten


class PixelNetwork(nn.Module):
    """A timm network with built-in normalisation that also returns features and activation maps.

    Args:
        network: A timm network.
        data_config: timm's data config; by default the network's own, at its test size.

    Attributes:
        data_config: timm's data config.
        num_classes: Number of logits per photo.
        has_maps: True if the head is a linear layer after global average pooling, which makes
            class activation maps exact.
    """

    def __init__(self, network: nn.Module, data_config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.network = network
        self.data_config: Mapping[str, Any] = data_config or resolve_data_config(  # type: ignore[no-untyped-call]
            {}, model=network, use_test_size=True
        )
        mean, std = (torch.tensor(self.data_config[key]).view(-1, 1, 1) for key in ("mean", "std"))
        self.scale: torch.Tensor
        self.offset: torch.Tensor
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)
        self.num_classes, self.has_maps = _run_trial(network, self.data_config["input_size"])

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logits, features and, if `has_maps`, class activation maps.

        Args:
            pixels: (photos, height, width, 3) uint8.
        """
        # The permuted view of NHWC pixels already has the channels_last memory format.
        batch = pixels.permute(0, 3, 1, 2) * self.scale + self.offset
        maps, features, logits = _forward(self.network, batch)
        if not self.has_maps:
            return logits, features
        weight = cast(nn.Linear, _head(self.network)).weight  # (classes, channels)
        return logits, features, nn.functional.conv2d(maps, weight[:, :, None, None])


def unwrap_network(network: Any) -> nn.Module:
    """Return the timm network inside a wrapper such as torch.compile's or DataParallel's.

    A network in another floating-point type is converted to fp32 in place.

    Raises:
        ModelError: If it is not an image classifier of timm.
    """
    while inner := network._modules.get("_orig_mod") or network._modules.get("module"):
        network = inner
    needed = ("forward_features", "forward_head", "get_classifier", "pretrained_cfg")
    if not all(hasattr(network, name) for name in needed):
        raise ModelError(
            f"The network must be an image classifier of timm, not {shorten(type(network))}: "
            "create it with timm.create_model and load your weights into it."
        )
    return cast(nn.Module, network.float())


def _run_trial(network: nn.Module, input_size: tuple[int, int, int]) -> tuple[int, bool]:
    """Return the number of logits, and True if averaging the activation maps reproduces them.

    Networks with other pooling, or with more layers between pooling and head, have no exact maps.
    """
    head = _head(network)
    noise = torch.rand((1, *input_size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps, _, logits = _forward(network, noise.to(next(network.parameters()).device))
        num_classes = logits.shape[1]
        if not isinstance(head, nn.Linear) or not torch.is_tensor(maps):
            return num_classes, False
        if maps.ndim != 4 or maps.shape[1] != head.in_features:
            return num_classes, False
        error = (head(maps.mean(dim=(2, 3))) - logits).abs().max()
        return num_classes, bool(error <= 1e-3 * logits.abs().max())


def _forward(network: Any, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    maps = network.forward_features(batch)
    # Some networks have more than a linear layer after pooling, so leave the head to timm.
    return maps, network.forward_head(maps, pre_logits=True), network.forward_head(maps)


def _head(network: Any) -> nn.Module:
    return cast(nn.Module, network.get_classifier())
