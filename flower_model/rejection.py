"""Rejection rule: a flower/non-flower classifier on pooled features, fitted by training.calibrate.

Its file also holds the known-species rule, if the model has one.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from flower_model.confidence import logistic
from flower_model.errors import ModelError, shorten
from flower_model.known_species import SCORES, KnownSpecies
from flower_model.system.tensors import read_tensors, write_tensors

REJECTION_FILE = "rejection.safetensors"
KNOWN = "known_species"  # tensor of the file
MAX_BYTES = 64_000_000  # of the file; about 3 MB for a ResNet-50


@dataclass(frozen=True)
class SupportVectors:
    """A support vector machine with an RBF kernel that separates flowers from negatives.

    Attributes:
        vectors: (vectors, channels) float32, power-normalised features of the support vectors.
        weights: (vectors,) float32 dual coefficients, positive for flowers.
        gamma: (1,) float32 coefficient of the kernel exp(-gamma |a - b|²).
    """

    vectors: np.ndarray
    weights: np.ndarray
    gamma: np.ndarray

    @property
    def channels(self) -> int:
        """Number of features per photo."""
        return int(self.vectors.shape[1])

    @property
    def is_consistent(self) -> bool:
        """True if the shapes fit each other and the kernel decreases."""
        return (
            self.vectors.ndim == 2
            and self.vectors.size > 0
            and self.weights.shape == self.vectors.shape[:1]
            and self.gamma.shape == (1,)
            and bool(self.gamma[0] > 0)
        )

    @cached_property
    def _squares(self) -> np.ndarray:  # (vectors,)
        squares: np.ndarray = (self.vectors**2).sum(axis=1)
        return squares

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return scores (photos,) of features (photos, channels); higher means flower."""
        inputs = power_normalise(features)
        # |a - b|² = |a|² + |b|² - 2 a·b
        squares = (inputs**2).sum(axis=1)[:, None] + self._squares
        # A BLAS matrix product would wait milliseconds for cores that the network's threads occupy.
        products = np.vecdot(inputs[:, None], self.vectors)  # (photos, vectors)
        distances = squares - 2 * products
        scores: np.ndarray = np.exp(-self.gamma * distances) @ self.weights
        return scores


@dataclass(frozen=True)
class Residual:
    """Distance from the principal subspace of flower features (ViM; Wang et al. 2022).

    Attributes:
        basis: (channels, dimensions) float32, orthonormal columns that span the subspace.
        mean: (channels,) float32, the origin of the subspace.
    """

    basis: np.ndarray
    mean: np.ndarray

    @property
    def channels(self) -> int:
        """Number of features per photo."""
        return len(self.basis)

    @property
    def is_consistent(self) -> bool:
        """True if the shapes fit each other."""
        basis = self.basis
        return basis.ndim == 2 and basis.size > 0 and self.mean.shape == basis.shape[:1]

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return scores (photos,) of features (photos, channels); higher means flower."""
        offset = l2_normalise(features) - self.mean  # (photos, channels)
        inside = offset @ self.basis  # (photos, dimensions)
        outside = (offset**2).sum(axis=1) - (inside**2).sum(axis=1)
        scores: np.ndarray = -np.sqrt(np.maximum(outside, 0))
        return scores


METHODS = {"support vectors": SupportVectors, "residual": Residual}


@dataclass(frozen=True)
class Rejection:
    """A scoring method with Platt scaling and a threshold on the flower probability.

    Attributes:
        method: `SupportVectors` if non-flower photos were available for fitting. `Residual` needs
            none, but its probability is only a scale: 0.5 at the threshold and 0.99 for the
            median flower.
        slope, intercept: Map the score to the log odds of a flower.
        threshold: Smallest flower probability that is accepted as a flower, in [0, 1].
        known: The known-species rule; None if no flowers of other species were available for fitting.
    """

    method: SupportVectors | Residual
    slope: float
    intercept: float
    threshold: float
    known: KnownSpecies | None = None

    @property
    def name(self) -> str:
        """Name of the method, a key of `METHODS`."""
        return next(name for name, kind in METHODS.items() if isinstance(self.method, kind))

    def flower_probability(self, features: np.ndarray) -> np.ndarray:
        """Return the probability that each photo shows a flower, given equal priors.

        Args:
            features: (photos, channels) float, from a runtime.

        Returns:
            (photos,) float64 in [0, 1].

        Raises:
            ModelError: If the number of channels differs from that of the fitted rule.
        """
        expected = self.method.channels
        if features.shape[1] != expected:
            raise ModelError(
                f"{REJECTION_FILE} expects {expected} features per photo, but the network returns "
                f"{features.shape[1]}. Download or calibrate the model again."
            )
        with np.errstate(over="ignore", invalid="ignore"):  # the caller rejects non-finite results
            scores = self.method.score(features).astype(np.float64)
            return logistic(self.slope * scores + self.intercept)


def power_normalise(features: np.ndarray) -> np.ndarray:
    """Return signed square roots of L1-normalised features, which limits dominant channels.

    Args:
        features: (photos, channels) float.

    Returns:
        (photos, channels) float32, each row of Euclidean length 1, or 0 if all features are 0.
    """
    features = np.asarray(features, dtype=np.float32)
    total = np.abs(features).sum(axis=1, keepdims=True)
    normalised: np.ndarray = np.sign(features) * np.sqrt(
        np.abs(features) / np.maximum(total, 1e-12)
    )
    return normalised


def l2_normalise(features: np.ndarray) -> np.ndarray:
    """Return features (photos, channels) scaled to rows of Euclidean length 1; rows of 0 stay 0."""
    features = np.asarray(features, dtype=np.float32)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    normalised: np.ndarray = features / np.maximum(length, 1e-12)
    return normalised


def save_rejection(rule: Rejection, folder: Path) -> None:
    """Write rejection.safetensors to a weights folder atomically, with matrices in 16 bits."""
    tensors = {field.name: getattr(rule.method, field.name) for field in fields(rule.method)}
    stored = {name: _halve(tensor) for name, tensor in tensors.items()}
    stored["scale"] = np.array([rule.slope, rule.intercept, rule.threshold], np.float32)
    if rule.known:
        scale = [*rule.known.weights, rule.known.intercept, rule.known.threshold]
        stored[KNOWN] = np.array(scale, np.float32)
    write_tensors(folder / REJECTION_FILE, stored)


def _halve(tensor: np.ndarray) -> np.ndarray:
    """Return matrices in 16 bits, unless a value is too large for them."""
    fits = tensor.ndim > 1 and np.abs(tensor).max() <= np.finfo(np.float16).max
    return tensor.astype(np.float16 if fits else np.float32)


def load_rejection(folder: Path) -> Rejection:
    """Read rejection.safetensors from a weights folder.

    Raises:
        ModelError: If the file is missing, damaged or inconsistent.
    """
    path = folder / REJECTION_FILE
    try:
        loaded, _ = read_tensors(path, MAX_BYTES)
    except FileNotFoundError:
        raise ModelError(f"'{folder}' has no {REJECTION_FILE}. Download the model again.") from None
    tensors = {name: tensor.astype(np.float32) for name, tensor in loaded.items()}
    scale, species = tensors.pop("scale", np.empty(0)), tensors.pop(KNOWN, None)
    kind = next((m for m in METHODS.values() if {f.name for f in fields(m)} == {*tensors}), None)
    if (
        kind is None
        or not all(np.isfinite(tensor).all() for tensor in tensors.values())
        or not _is_scale(scale, 3)
        or not (species is None or _is_scale(species, SCORES + 2))
    ):
        raise ModelError(
            f"'{shorten(path, 120)}' doesn't contain a valid rejection rule. Download the model again."
        )
    method = kind(**tensors)
    if not method.is_consistent:
        raise ModelError(
            f"The tensor shapes in '{shorten(path, 120)}' are inconsistent. Download the model again."
        )
    slope, intercept, threshold = scale.tolist()
    known = None
    if species is not None:
        *weights, log_odds, edge = species.tolist()
        known = KnownSpecies(tuple(weights), log_odds, edge)
    return Rejection(method, slope, intercept, threshold, known)


def _is_scale(values: np.ndarray, length: int) -> bool:
    """Return True for finite coefficients whose last one, the threshold, is a probability."""
    return values.shape == (length,) and bool(np.isfinite(values).all() and 0 <= values[-1] <= 1)
