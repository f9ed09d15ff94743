"""Quantization to int8: ranges of activations and corrections of layers, found by training.quantize.

The ranges of weights are not stored, because they follow from the weights.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from flower_model.errors import ModelError, shorten
from flower_model.system.files import atomic_path

QUANTIZATION_FILE = "quantization.safetensors"
MAX_BYTES = 16_000_000  # of the file; about 0.1 MB for a ResNet-50
RANGE, CORRECTION = ".range", ".correction"  # after the module's name, in the names of tensors
WEIGHTS = "weights_sha256"  # key in the file's metadata


@dataclass(frozen=True)
class Quantization:
    """The parts of a network that int8 inference computes in 8 bits; the rest stays finer.

    Modules have the names that timm gives them; a layer with a folded batch norm has the norm's.

    Attributes:
        ranges: Module -> (2,) float32, the lowest and the highest value of its output in 8 bits.
        corrections: Layer that multiplies in int8 -> (channels,) float32, which is added to its
            output and makes up for the mean error of rounding (Nagel et al. 2019, section 4.2).
        weights_sha256: Hexadecimal SHA-256 of the model.safetensors that it was found for.
    """

    ranges: Mapping[str, np.ndarray]
    corrections: Mapping[str, np.ndarray]
    weights_sha256: str

    def digest(self) -> str:
        """Return a hexadecimal SHA-256 of the content."""
        digest = hashlib.sha256(self.weights_sha256.encode())
        for name, tensor in sorted(_to_tensors(self).items()):
            digest.update(name.encode() + tensor.tobytes())
        return digest.hexdigest()


def save_quantization(quantization: Quantization, folder: Path) -> None:
    """Write quantization.safetensors to a weights folder atomically."""
    metadata = {WEIGHTS: quantization.weights_sha256}
    with atomic_path(folder / QUANTIZATION_FILE) as temporary:
        save_file(_to_tensors(quantization), temporary, metadata)


def find_quantization(folder: Path, weights_sha256: str) -> Quantization | None:
    """Return the quantization in a weights folder, or None if there is none for these weights.

    Args:
        folder: The weights folder.
        weights_sha256: Hexadecimal SHA-256 of its model.safetensors.

    Raises:
        ModelError: If the file is damaged or inconsistent.
    """
    path = folder / QUANTIZATION_FILE
    name = shorten(path, 120)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"'{name}' is too large for a quantization. Download the model again.")
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get(WEIGHTS) != weights_sha256:
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, TypeError, AttributeError):  # AttributeError: float8
        raise ModelError(f"'{name}' is damaged or truncated. Download the model again.") from None
    ranges, corrections = _with_suffix(tensors, RANGE), _with_suffix(tensors, CORRECTION)
    if (
        not ranges
        or not corrections
        or len(ranges) + len(corrections) < len(tensors)
        or not all(map(_is_range, ranges.values()))
        or not all(map(_is_correction, corrections.values()))
    ):
        raise ModelError(
            f"'{name}' doesn't contain a valid quantization. Download the model again."
        )
    return Quantization(ranges, corrections, weights_sha256)


def _to_tensors(quantization: Quantization) -> dict[str, np.ndarray]:
    tensors = {name + RANGE: values for name, values in quantization.ranges.items()}
    tensors |= {name + CORRECTION: values for name, values in quantization.corrections.items()}
    return {name: np.ascontiguousarray(values, np.float32) for name, values in tensors.items()}


def _with_suffix(tensors: Mapping[str, np.ndarray], suffix: str) -> dict[str, np.ndarray]:
    """Return the tensors whose names end in `suffix`, under their names without it."""
    return {k.removesuffix(suffix): v for k, v in tensors.items() if k.endswith(suffix)}


def _is_range(values: np.ndarray) -> bool:
    # The range contains 0, which int8 must represent exactly since convolutions pad with it.
    return (
        values.shape == (2,)
        and values.dtype == np.float32
        and bool(np.isfinite(values).all() and values[0] <= 0 <= values[1] > values[0])
    )


def _is_correction(values: np.ndarray) -> bool:
    return values.ndim == 1 and values.dtype == np.float32 and bool(np.isfinite(values).all())
