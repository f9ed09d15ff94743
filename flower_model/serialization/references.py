"""References: features of some training photos, from which new classes are taught without the photos.

They are kept in references.safetensors beside the weights that computed them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flower_model.errors import ModelError, shorten
from flower_model.system.tensors import read_tensors, write_tensors

REFERENCES_FILE = "references.safetensors"
PER_CLASS = 10  # photos; with 20, teaching is no more accurate (`benchmarks.teach`)
MAX_BYTES = 10_000_000  # of the features; also bounds the time that teaching takes


@dataclass(frozen=True)
class References:
    """Pooled features of training photos.

    Attributes:
        features: (photos, channels) float16.
        targets: (photos,) int64 class indices in the order of the model's labels.
    """

    features: np.ndarray
    targets: np.ndarray


def save_references(references: References, folder: Path, weights_sha256: str) -> None:
    """Write references.safetensors to a weights folder whose weights have this hash, atomically.

    Raises:
        ModelError: If they take more than `MAX_BYTES`, or a feature has no finite value in 16 bits.
        WriteError: If the file can't be written.
    """
    features = np.ascontiguousarray(references.features, np.float16)
    targets = np.ascontiguousarray(references.targets, np.int64)
    if features.nbytes > MAX_BYTES or not np.isfinite(features).all():
        raise ModelError(
            f"The features of {len(features)} photos don't fit into "
            f"{MAX_BYTES // 1_000_000} MB in 16 bits."
        )
    tensors: dict[str, np.ndarray] = {"features": features, "targets": targets}
    write_tensors(folder / REFERENCES_FILE, tensors, weights_sha256)


def load_references(folder: Path, weights_sha256: str, classes: int) -> References:
    """Read references.safetensors from a weights folder whose weights have this hash.

    Raises:
        ModelError: If the file is missing, damaged, inconsistent or made for other weights.
    """
    path = folder / REFERENCES_FILE
    name = shorten(path, 100)
    remedy = "Make it with python -m training.teach MODEL --references."
    try:
        tensors, made_for = read_tensors(path, 2 * MAX_BYTES, remedy)
    except FileNotFoundError:
        raise ModelError(
            f"'{shorten(folder, 100)}' has no {REFERENCES_FILE}, the features of training photos "
            f"that teaching compares new photos with. {remedy}"
        ) from None
    if made_for != weights_sha256:
        raise ModelError(f"'{name}' was made for other weights. {remedy}")
    if not _is_consistent(tensors, classes):
        raise ModelError(f"'{name}' doesn't hold the features of {classes} classes. {remedy}")
    return References(tensors["features"], tensors["targets"])


def _is_consistent(tensors: dict[str, np.ndarray], classes: int) -> bool:
    if tensors.keys() != {"features", "targets"}:
        return False
    features, targets = tensors["features"], tensors["targets"]
    return (
        features.ndim == 2
        and features.dtype == np.float16
        and targets.dtype == np.int64
        and targets.shape == features.shape[:1]
        and bool(np.isfinite(features).all())
        and np.array_equal(np.unique(targets), np.arange(classes))
    )
