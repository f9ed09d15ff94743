"""Selection of the runtime for this machine."""

import importlib.util
from typing import Literal

from flower_model.errors import FlowerModelError
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


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
