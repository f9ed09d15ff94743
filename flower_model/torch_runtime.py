"""PyTorch as runtime: on a GPU, wherever OpenVINO is not, and as the reference for both."""

import contextlib
from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import torch
from timm.data import resolve_data_config
from torch import nn

from flower_model.errors import FlowerModelError
from flower_model.runtime import Outputs, has_gpu

Precision = Literal["auto", "float32", "bfloat16"]


class TorchRuntime:
    """Runs a timm network on CUDA, MPS or the CPU.

    Args:
        network: A timm network; it is moved to the device, and stays what it was otherwise.
        device: "cpu", "cuda", "mps", …; None is the fastest there is.
        precision: Of the matrix products. "float32" on the CPU is the reference for all others;
            "auto" is bfloat16 where the device gains from it.
        data_config: What photos it takes, as timm says it; None is what the network is tested with.

    Raises:
        FlowerModelError: If there is no such device.

    Example:
        >>> runtime = TorchRuntime(timm.create_model("resnet50"))
        >>> logits, features, maps = runtime(np.zeros((2, 224, 224, 3), np.uint8))
    """

    def __init__(
        self,
        network: nn.Module,
        device: str | torch.device | None = None,
        precision: Precision = "auto",
        data_config: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            self.device = torch.device(device) if device else best_device()
            network = network.to(memory_format=torch.channels_last).to(self.device)
        except (RuntimeError, AssertionError):  # what torch says on a device it does not have
            raise FlowerModelError(f"PyTorch has no device '{device}' on this machine.") from None
        self.network: nn.Module = network.eval()
        self.bf16 = precision == "bfloat16" or (
            precision == "auto" and gains_from_bf16(self.device)
        )
        self.name = f"PyTorch on {self.device.type}, {'bf16' if self.bf16 else 'fp32'}"
        self._pixel_network = PixelNetwork(network, data_config).to(self.device)
        self.data_config = self._pixel_network.data_config

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Runs one pass.

        Args:
            pixels: (photos, height, width, 3) uint8 RGB, not normalised.
        """
        with self._autocast():
            outputs = self._pixel_network(torch.tensor(pixels).to(self.device))
        logits, features, *maps = (tensor.float().cpu().numpy() for tensor in outputs)
        return Outputs(logits, features, maps[0] if maps else None)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


class PixelNetwork(nn.Module):
    """A timm network that normalises its pixels itself and also gives features and maps.

    Args:
        network: A timm network.
        data_config: timm's; None is its own, at the size that it is tested at.

    Attributes:
        data_config: timm's.
        has_maps: Whether its head is a linear layer after a global average, so that class
            activation maps are exact.
    """

    def __init__(self, network: nn.Module, data_config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.network = network
        self.data_config: Mapping[str, Any] = data_config or resolve_data_config(
            {}, model=network, use_test_size=True
        )
        mean, std = (torch.tensor(self.data_config[key]).view(-1, 1, 1) for key in ("mean", "std"))
        self.scale: torch.Tensor
        self.offset: torch.Tensor
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)
        self.has_maps = has_class_maps(network, self.data_config["input_size"])

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits, features and, if it has them, maps.

        Args:
            pixels: (photos, height, width, 3) uint8.
        """
        # NHWC pixels seen as NCHW are channels_last already.
        batch = pixels.permute(0, 3, 1, 2) * self.scale + self.offset
        maps, features, logits = _pass(self.network, batch)
        if not self.has_maps:
            return logits, features
        weight = cast(nn.Linear, _head(self.network)).weight  # (classes, channels)
        return logits, features, nn.functional.conv2d(maps, weight[:, :, None, None])


def has_class_maps(network: nn.Module, input_size: tuple[int, int, int]) -> bool:
    """Whether the mean of the mapped last layer is the logit, tried with noise.

    Networks that pool otherwise, or do more between pool and head, have no exact maps.
    """
    head = _head(network)
    if not isinstance(head, nn.Linear):
        return False
    noise = torch.rand((1, *input_size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps, _, logits = _pass(network, noise.to(head.weight.device))
        if not torch.is_tensor(maps) or maps.ndim != 4 or maps.shape[1] != head.in_features:
            return False
        error = (head(maps.mean(dim=(2, 3))) - logits).abs().max()
        return bool(error <= 1e-3 * logits.abs().max())


def gains_from_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bf16 matrices faster than fp32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def best_device() -> torch.device:
    """CUDA or MPS where there is one, else the CPU."""
    if not has_gpu():
        return torch.device("cpu")
    return torch.device("cuda" if torch.cuda.is_available() else "mps")


def _pass(network: Any, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    maps = network.forward_features(batch)
    # Between pooled features and logits some networks do more than one layer's product; timm knows.
    return maps, network.forward_head(maps, pre_logits=True), network.forward_head(maps)


def _head(network: Any) -> nn.Module:
    return cast(nn.Module, network.get_classifier())
