"""Quantization to int8: ranges of activations and corrections of layers, found by training.quantize.

The ranges of weights are not stored, because they follow from the weights.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flower_model.errors import ModelError, shorten
from flower_model.system.tensors import read_tensors, write_tensors

QUANTIZATION_FILE = "quantization.safetensors"
MAX_BYTES = 16_000_000  # of the file; about 0.1 MB for a ResNet-50
RANGE, CORRECTION = ".range", ".correction"  # after the module's name, in the names of tensors


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
    tensors = _to_tensors(quantization)
    write_tensors(folder / QUANTIZATION_FILE, tensors, quantization.weights_sha256)


def find_quantization(folder: Path, weights_sha256: str) -> Quantization | None:
    """Return the quantization in a weights folder, or None if there is none for these weights.

    Raises:
        ModelError: If the file is damaged or inconsistent.
    """
    path = folder / QUANTIZATION_FILE
    try:
        tensors, made_for = read_tensors(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    if made_for != weights_sha256:
        return None
    ranges, corrections = _with_suffix(tensors, RANGE), _with_suffix(tensors, CORRECTION)
    if (
        not ranges
        or not corrections
        or len(ranges) + len(corrections) < len(tensors)
        or not all(t.dtype == np.float32 and np.isfinite(t).all() for t in tensors.values())
        or not all(map(_is_range, ranges.values()))
        or not all(tensor.ndim == 1 for tensor in corrections.values())
    ):
        raise ModelError(
            f"'{shorten(path, 120)}' doesn't contain a valid quantization. Download the model again."
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
    return values.shape == (2,) and bool(values[0] <= 0 <= values[1] > values[0])
