"""GPU detection that avoids importing PyTorch on machines without a GPU driver."""

import ctypes
import platform
import sys
from pathlib import Path


def has_gpu() -> bool:
    """Return True if PyTorch can use a GPU. Without a GPU driver, PyTorch is not imported."""
    if "torch" not in sys.modules and not _has_gpu_driver():
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _has_gpu_driver() -> bool:
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if Path("/dev/kfd").exists():  # AMD
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
