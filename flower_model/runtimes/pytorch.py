"""PyTorch as runtime: on a GPU, wherever OpenVINO is not, and as the reference for both."""

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from flower_model.errors import FlowerModelError
from flower_model.runtimes.base import Outputs
from flower_model.runtimes.devices import has_gpu
from flower_model.runtimes.pixel_network import PixelNetwork

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
