"""A batch of photos in; logits, features and class activation maps out, wherever that is fastest."""

import ctypes
import importlib.util
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from flower_model.config import ModelConfig
from flower_model.errors import ConversionError, FlowerModelError


class Outputs(NamedTuple):
    """What one pass gives for a batch of photos; all float32.

    Attributes:
        logits: (photos, classes).
        features: (photos, channels) of the last layer but one, pooled over the photo.
        maps: (photos, classes, height, width) class activation maps (Zhou et al. 2016): how much
            each place of the photo adds to a logit. Their mean over all places plus the head's
            bias is the logit. None where the head is not a linear layer after a global average.
    """

    logits: np.ndarray
    features: np.ndarray
    maps: np.ndarray | None


class Runtime(Protocol):
    """A network, ready to run.

    Attributes:
        name: What runs it, for people: "OpenVINO, bf16".
        data_config: What photos it takes, as `timm.data.resolve_data_config` says it.
    """

    name: str
    data_config: Mapping[str, Any]

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Runs one pass; may be called from several threads.

        Args:
            pixels: (photos, height, width, 3) uint8 RGB, not normalised.
        """


def choose_runtime(name: str = "auto", device: Any = None) -> Literal["torch", "openvino"]:
    """Decides what runs a network here.

    Args:
        name: "torch", "openvino" or "auto": PyTorch where it has a GPU, OpenVINO on a processor.
        device: "cpu", "cuda", …; None is the fastest there is.

    Raises:
        FlowerModelError: If there is no runtime of that name, or it can't be had here.
    """
    if name not in ("auto", "torch", "openvino"):
        raise FlowerModelError(f"There is no runtime '{name}': choose auto, torch or openvino.")
    on_cpu = device is None or str(device).partition(":")[0] == "cpu"
    if name == "openvino":
        if not on_cpu:
            raise FlowerModelError(f"The runtime openvino runs on the CPU, not on '{device}'.")
        if not _is_installed("openvino"):
            raise FlowerModelError("The runtime openvino is not here: pip install openvino.")
        return "openvino"
    if name == "torch" or not on_cpu or not _is_installed("openvino"):
        return "torch"
    return "torch" if device is None and has_gpu() else "openvino"


def openvino_if_possible(folder: Path, config: ModelConfig, *, required: bool) -> Runtime | None:
    """A weights folder's network in OpenVINO; None for an unusual one that it can't convert.

    Args:
        folder: The weights folder.
        config: Of the model in it.
        required: Whether there is nothing else to fall back on.

    Raises:
        ConversionError: If it can't be converted and is required.
    """
    from flower_model.openvino_runtime import load_openvino

    try:
        return load_openvino(folder, config)
    except ConversionError:
        if required:
            raise
        return None


def has_gpu() -> bool:
    """Whether PyTorch can run on a GPU; where there is none, it is not even imported."""
    if "torch" not in sys.modules and not _has_gpu_driver():
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _has_gpu_driver() -> bool:
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if Path("/dev/kfd").exists():  # AMD's
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
