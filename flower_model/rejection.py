"""Is there a flower at all? A rule on the network's pooled features, fitted by training.calibrate."""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from flower_model.errors import ModelError
from flower_model.system.files import atomic_path

REJECTION_FILE = "rejection.safetensors"
LARGEST = 64_000_000  # bytes; the rule of a ResNet-50 takes about 3 MB


@dataclass(frozen=True)
class SupportVectors:
    """A support vector machine between flowers and other photos, with a radial kernel.

    Attributes:
        vectors: (vectors, channels) float32, power-normalised features of photos at the border.
        weights: (vectors,) float32, above 0 for flowers and below for others.
        gamma: (1,) float32, how fast the kernel falls with the squared distance.
    """

    vectors: np.ndarray
    weights: np.ndarray
    gamma: np.ndarray

    @cached_property
    def _squares(self) -> np.ndarray:  # (vectors,)
        return (self.vectors**2).sum(axis=1)

    def score(self, features: np.ndarray) -> np.ndarray:
        """(photos,) of features (photos, channels); higher is more of a flower."""
        inputs = power_normalised(features)
        # |a - b|² = |a|² + |b|² - 2 a·b, and nearly all are of length 1
        squares = (inputs**2).sum(axis=1)[:, None] + self._squares
        # Not as a matrix product: on all cores that waits for the network's threads, for milliseconds.
        products = np.vecdot(inputs[:, None], self.vectors)  # (photos, vectors)
        distances = squares - 2 * products
        return np.exp(-self.gamma * distances) @ self.weights


@dataclass(frozen=True)
class Residual:
    """How far a photo lies from the subspace that flowers fill (Wang et al. 2022).

    Attributes:
        basis: (channels, dimensions) float32, orthonormal columns.
        mean: (channels,) float32, the subspace's origin.
    """

    basis: np.ndarray
    mean: np.ndarray

    def score(self, features: np.ndarray) -> np.ndarray:
        """(photos,) of features (photos, channels); higher is more of a flower."""
        offset = unit_length(features) - self.mean  # (photos, channels)
        inside = offset @ self.basis  # (photos, dimensions)
        outside = (offset**2).sum(axis=1) - (inside**2).sum(axis=1)
        return -np.sqrt(np.maximum(outside, 0))


METHODS = {"support vectors": SupportVectors, "residual": Residual}


@dataclass(frozen=True)
class Rejection:
    """A score of the features, and the probability from which on a photo shows a flower.

    Attributes:
        method: Support vectors where photos without a flower were at hand. The residual needs
            none, but its probability is only a scale: a half at the threshold, 99 % for the
            median flower.
        slope, intercept: From the score to the log odds of a flower.
        threshold: The smallest flower probability that counts as a flower, in [0, 1].
    """

    method: SupportVectors | Residual
    slope: float
    intercept: float
    threshold: float

    @property
    def name(self) -> str:
        """Of the method: one of `METHODS`."""
        return next(name for name, kind in METHODS.items() if isinstance(self.method, kind))

    def flower_probability(self, features: np.ndarray) -> np.ndarray:
        """The probability of a flower, if every other photo showed one.

        Args:
            features: (photos, channels) float, as a runtime gives them.

        Returns:
            (photos,) float64 in [0, 1].

        Raises:
            ModelError: If the rule was fitted to a network with another number of channels.
        """
        expected = _channels(self.method)
        if features.shape[1] != expected:
            raise ModelError(
                f"The model's {REJECTION_FILE} is for {expected} features a photo and its network "
                f"gives {features.shape[1]}: fetch or calibrate the model again."
            )
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused later
            log_odds = self.slope * self.method.score(features).astype(np.float64) + self.intercept
        return 0.5 * (1 + np.tanh(log_odds / 2))  # the logistic function, and no overflow


def power_normalised(features: np.ndarray) -> np.ndarray:
    """Square roots of each channel's share, so that a few strong channels do not outshout the rest.

    Args:
        features: (photos, channels) float; the roots of negative ones are taken with their sign.

    Returns:
        (photos, channels) float32, each row of Euclidean length 1, or 0 where all features are 0.
    """
    features = np.asarray(features, dtype=np.float32)
    total = np.abs(features).sum(axis=1, keepdims=True)
    return np.sign(features) * np.sqrt(np.abs(features) / np.maximum(total, 1e-12))


def unit_length(features: np.ndarray) -> np.ndarray:
    """(photos, channels) float32, each row of Euclidean length 1, or 0 where all features are 0."""
    features = np.asarray(features, dtype=np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def save_rejection(rule: Rejection, folder: Path) -> None:
    """Writes rejection.safetensors into a weights folder, in one step; matrices in 16 bits."""
    tensors = {field.name: getattr(rule.method, field.name) for field in fields(rule.method)}
    stored = {n: t.astype(np.float16 if t.ndim > 1 else np.float32) for n, t in tensors.items()}
    stored["scale"] = np.array([rule.slope, rule.intercept, rule.threshold], np.float32)
    with atomic_path(folder / REJECTION_FILE) as temporary:
        save_file(stored, temporary)


def load_rejection(folder: Path) -> Rejection:
    """Reads rejection.safetensors of a weights folder.

    Raises:
        ModelError: If it is missing, damaged or its parts do not fit together.
    """
    path = folder / REJECTION_FILE
    try:
        if path.stat().st_size > LARGEST:
            raise ModelError(f"'{path}' is larger than any rule is: fetch the model again.")
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    except FileNotFoundError:
        raise ModelError(f"'{folder}' holds no {REJECTION_FILE}: fetch the model again.") from None
    except (SafetensorError, OSError, TypeError, AttributeError):  # the last: float8
        raise ModelError(f"'{path}' is damaged or cut short: fetch the model again.") from None
    scale = tensors.pop("scale", np.empty(0))
    method = next(
        (m for m in METHODS.values() if {f.name for f in fields(m)} == set(tensors)), None
    )
    finite = all(np.isfinite(tensor).all() for tensor in (scale, *tensors.values()))
    if method is None or not finite or scale.shape != (3,) or not 0 <= scale[2] <= 1:
        raise ModelError(f"'{path}' holds no rule: fetch the model again.")
    rule = Rejection(method(**tensors), *map(float, scale))
    if not _fits_together(rule.method):
        raise ModelError(f"The shapes in '{path}' do not fit together: fetch the model again.")
    return rule


def _fits_together(method: SupportVectors | Residual) -> bool:
    if isinstance(method, SupportVectors):
        return (
            method.vectors.ndim == 2
            and method.vectors.size > 0
            and method.weights.shape == method.vectors.shape[:1]
            and method.gamma.shape == (1,)
            and method.gamma[0] > 0
        )
    basis = method.basis
    return basis.ndim == 2 and basis.size > 0 and method.mean.shape == basis.shape[:1]


def _channels(method: SupportVectors | Residual) -> int:
    return method.vectors.shape[1] if isinstance(method, SupportVectors) else len(method.basis)
