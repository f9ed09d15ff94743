"""The GPU and the instructions of this machine, found without importing PyTorch."""

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


def has_fast_int8() -> bool:
    """Return True if this CPU multiplies 8-bit integers faster than floating-point numbers.

    OpenVINO reports int8 for every CPU. It is faster with AVX2, and more so with VNNI or AMX, which
    imply AVX2.
    """
    try:
        from numpy._core._multiarray_umath import __cpu_features__
    except ImportError:  # not a public name
        return False
    return bool(__cpu_features__.get("AVX2"))


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
