"""Whether there is a GPU, found out without importing PyTorch where there is none."""

import ctypes
import platform
import sys
from pathlib import Path


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
