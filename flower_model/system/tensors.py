"""Small safetensors files beside the weights, read with every check and written atomically."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from flower_model.errors import ModelError, shorten
from flower_model.system.files import atomic_path

WEIGHTS_SHA256 = "weights_sha256"  # metadata of files that fit only the weights with this hash


def read_tensors(
    path: Path, max_bytes: int, remedy: str = "Download the model again."
) -> tuple[dict[str, np.ndarray], str | None]:
    """Return the tensors of a file and the SHA-256 of the weights that it was made for, if any.

    Raises:
        FileNotFoundError: If there is no such file.
        ModelError: If it is too large, damaged or truncated.
    """
    name = shorten(path, 200)
    try:
        if path.stat().st_size > max_bytes:
            raise ModelError(f"'{name}' is too large. {remedy}")
        with safe_open(path, framework="numpy") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
            return tensors, (file.metadata() or {}).get(WEIGHTS_SHA256)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, TypeError, AttributeError):  # AttributeError: float8
        raise ModelError(f"'{name}' is damaged or truncated. {remedy}") from None


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], weights_sha256: str | None = None
) -> None:
    """Write a file atomically, which `read_tensors` reads."""
    metadata = {WEIGHTS_SHA256: weights_sha256} if weights_sha256 else None
    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata)
