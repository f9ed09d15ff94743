"""The last layer of a network: read without PyTorch, and extended by a class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, read_content
from flower_model.errors import ModelError, shorten
from flower_model.system.files import atomic_path

# Both chosen with species that the network has never seen: see `benchmarks.teach`.
L2 = 1e-6  # penalty on the weights, for features of unit size
NEW_WEIGHT = 16.0  # of all photos of the new class together, in classes


@dataclass(frozen=True)
class Head:
    """A linear layer from pooled features to logits.

    Attributes:
        weight: (classes, channels) float32.
        bias: (classes,) float32.
    """

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the logits (photos, classes) float32 of features (photos, channels)."""
        logits: np.ndarray = features.astype(np.float32) @ self.weight.T + self.bias
        return logits

    def with_row(self, row: np.ndarray, bias: float) -> "Head":
        """Return the head with one more class, of weights `row` (channels,)."""
        return Head(np.vstack([self.weight, row]), np.append(self.bias, np.float32(bias)))


def read_head(folder: Path, classes: int) -> Head:
    """Read the last layer of a weights folder.

    Raises:
        ModelError: If it is not a single linear layer with one output per class.
    """
    layer = _layer(folder)
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy") as file:
            weight, bias = (
                file.get_tensor(f"{layer}.{part}").astype(np.float32) for part in ("weight", "bias")
            )
        head = Head(weight.reshape(len(weight), -1), bias)  # some heads are 1 x 1 convolutions
        if len(weight) == classes and bias.shape == (classes,):
            return head
    except (SafetensorError, OSError, TypeError, AttributeError, ValueError):
        pass
    raise ModelError(
        f"The network in '{shorten(folder, 100)}' has no linear layer as its head that a class can be "
        "added to. Save a model of the flower_model package with save_pretrained and use that folder."
    )


def write_head(source: Path, head: Head, folder: Path) -> None:
    """Write the model.safetensors of a weights folder with another head, without PyTorch.

    Args:
        source: The weights folder, whose head was read with `read_head`.
        head: The head.
        folder: The folder to write to.
    """
    tensors, layer = load_file(source / WEIGHTS_FILE), _layer(source)
    old = tensors[f"{layer}.weight"]
    weight = head.weight.reshape(-1, *old.shape[1:])
    with np.errstate(over="ignore"):
        rounded = weight.astype(old.dtype)
    tensors[f"{layer}.weight"] = rounded if np.isfinite(rounded).all() else weight
    tensors[f"{layer}.bias"] = head.bias
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary, {"format": "pt"})


def _layer(folder: Path) -> str | None:
    content = read_content(folder / CONFIG_FILE)["pretrained_cfg"]
    return content.get("classifier") if isinstance(content, dict) else None


def fit_row(
    known: np.ndarray, known_logits: np.ndarray, new: np.ndarray, new_logits: np.ndarray
) -> tuple[np.ndarray, float]:
    """Fit the weights of a class that is added to a head whose other rows stay as they are.

    With those rows fixed, multinomial logistic regression is a binary one, in which the new class's
    logit competes with the log-sum-exp of the others.

    Args:
        known: (photos, channels) float32 features of the classes that the head has.
        known_logits: (photos, classes) their logits.
        new: (photos, channels) float32 features of the new class, at least one photo.
        new_logits: (photos, classes) their logits.

    Returns:
        Weights (channels,) float32 and bias of the new class.
    """
    from scipy.optimize import minimize  # slow to import
    from scipy.special import expit, logsumexp

    rivals = logsumexp(np.concatenate([known_logits, new_logits]), axis=1)  # (photos,)
    centre = known.mean(axis=0)
    size = np.sqrt(((known - centre) ** 2).sum(axis=1).mean()) + 1e-12
    inputs = (np.concatenate([known, new]) - centre) / size  # (photos, channels)
    by_channel = np.ascontiguousarray(inputs.T)
    is_new = np.repeat([0.0, 1.0], [len(known), len(new)])
    share = NEW_WEIGHT / known_logits.shape[1] / len(new)
    weights = np.repeat([1 / len(known), share], [len(known), len(new)])

    # Not BLAS, whose threads would wait for cores that the network's threads occupy.
    def loss_and_gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        row, bias = parameters[:-1], parameters[-1]
        margins = np.vecdot(inputs, row.astype(np.float32)) + bias - rivals
        loss = weights @ (np.logaddexp(0, margins) - is_new * margins) + L2 / 2 * row @ row
        slopes = weights * (expit(margins) - is_new)
        gradient = np.vecdot(by_channel, slopes.astype(np.float32)) + L2 * row
        return float(loss), np.append(gradient, slopes.sum())

    start = np.zeros(inputs.shape[1] + 1)
    options = {"maxiter": 60}
    result = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    row = (result.x[:-1] / size).astype(np.float32)
    return row, float(result.x[-1] - row @ centre)
