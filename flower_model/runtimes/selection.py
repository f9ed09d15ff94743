"""Selection of the runtime for this machine."""

import importlib.util
from pathlib import Path
from typing import Literal

from flower_model.config import ModelConfig
from flower_model.errors import ConversionError, FlowerModelError
from flower_model.runtimes.base import Precision, Runtime
from flower_model.runtimes.devices import has_gpu


def resolve_runtime(name: str = "auto", device: str | None = None) -> Literal["torch", "openvino"]:
    """Return the runtime to use.

    Args:
        name: "torch", "openvino" or "auto": PyTorch with a GPU, otherwise OpenVINO.
        device: "cpu", "cuda", …; by default the fastest available.

    Raises:
        FlowerModelError: If the runtime is unknown or not available here.
    """
    if name not in ("auto", "torch", "openvino"):
        raise FlowerModelError(f"Unknown runtime '{name!s:.40}': choose auto, torch or openvino.")
    on_cpu = device is None or device.partition(":")[0] == "cpu"
    if name == "openvino":
        if not on_cpu:
            raise FlowerModelError(
                f"The runtime openvino supports only the CPU, not '{device!s:.40}'."
            )
        if not _is_installed("openvino"):
            raise FlowerModelError("The runtime openvino is not installed: pip install openvino.")
        return "openvino"
    if name == "torch" or not on_cpu or not _is_installed("openvino"):
        return "torch"
    return "torch" if device is None and has_gpu() else "openvino"


def try_load_openvino(
    folder: Path, config: ModelConfig, digest: str, precision: Precision, *, required: bool
) -> Runtime | None:
    """Load a weights folder with OpenVINO, or return None if OpenVINO can't convert the network.

    Args:
        folder: The weights folder.
        config: The model's configuration.
        digest: Digest of the folder's files.
        precision: "auto" selects the fastest that the CPU supports.
        required: Raise an error instead of returning None.

    Raises:
        ConversionError: If the network can't be converted and `required` is set.
    """
    from flower_model.runtimes.openvino_loading import load_openvino

    try:
        return load_openvino(folder, config, digest, precision)
    except ConversionError:
        if required:
            raise
        return None


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
