"""PyTorch runtime: used on GPUs and without OpenVINO; its fp32 output is the reference."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from flower_model.errors import FlowerModelError
from flower_model.runtimes.base import Compute, Outputs
from flower_model.runtimes.devices import has_gpu
from flower_model.runtimes.pixel_network import PixelNetwork


class TorchRuntime:
    """Run a timm network on CUDA, MPS or the CPU.

    Args:
        network: A timm network in fp32. It is moved to the device and set to evaluation mode in
            place.
        compute: Device and precision. fp32 on the CPU is the reference for all other runtimes.
        data_config: timm's data config; by default the network's own, at its test size.

    Raises:
        FlowerModelError: If the device is not available, or the precision is int8.

    Example:
        >>> runtime = TorchRuntime(timm.create_model("resnet50"))
        >>> logits, features, maps = runtime(np.zeros((2, 224, 224, 3), np.uint8))
    """

    def __init__(
        self,
        network: nn.Module,
        compute: Compute = Compute(),  # noqa: B008  # immutable
        data_config: Mapping[str, Any] | None = None,
    ) -> None:
        if compute.precision == "int8":
            raise FlowerModelError(
                "PyTorch runs networks in bf16 or fp32: int8 needs the runtime openvino, on the CPU."
            )
        try:
            self.device = torch.device(compute.device) if compute.device else fastest_device()
            network = network.to(memory_format=torch.channels_last).to(self.device)
        except (RuntimeError, AssertionError):  # raised by torch for a device it lacks
            raise FlowerModelError(
                f"PyTorch has no device '{compute.device!s:.40}' on this machine."
            ) from None
        self.network: nn.Module = network.eval()
        precision = compute.precision
        if precision == "auto":
            precision = "bf16" if supports_bf16(self.device) else "fp32"
        self.compute = Compute(str(self.device), precision)
        self.name = f"PyTorch on {self.device.type}, {precision}"
        self._pixel_network = PixelNetwork(network, data_config).to(self.device)
        self.data_config = self._pixel_network.data_config
        self.num_classes: int | None = self._pixel_network.num_classes
        self._process = os.getpid()

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Run a forward pass, see `Runtime`."""
        if self._process != os.getpid():
            self._prepare_fork()
        bf16 = self.compute.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            outputs = self._pixel_network(torch.tensor(pixels).to(self.device))
        logits, features, *maps = (tensor.float().cpu().numpy() for tensor in outputs)
        return Outputs(logits, features, maps[0] if maps else None)

    def _prepare_fork(self) -> None:
        if self.device.type != "cpu":
            raise FlowerModelError(
                f"A model on {self.device.type} can't be used in a forked process. "
                "Load it in that process, or use the start method 'spawn'."
            )
        torch.set_num_threads(1)  # the other OpenMP threads exist only in the parent process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _process=os.getpid())


def supports_bf16(device: torch.device) -> bool:
    """Return True if the device has hardware support for bf16 matrix multiplication."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def fastest_device() -> torch.device:
    """Return CUDA or MPS if available, else the CPU."""
    if not has_gpu():
        return torch.device("cpu")
    return torch.device("cuda" if torch.cuda.is_available() else "mps")
