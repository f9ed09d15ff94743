"""Which runtime answers on this machine."""

import importlib.util
from pathlib import Path
from typing import Any, Literal

from flower_model.config import ModelConfig
from flower_model.errors import ConversionError, FlowerModelError
from flower_model.runtimes.base import Runtime
from flower_model.runtimes.devices import has_gpu


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
    from flower_model.runtimes.openvino_loading import load_openvino

    try:
        return load_openvino(folder, config)
    except ConversionError:
        if required:
            raise
        return None


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
