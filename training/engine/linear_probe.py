"""The head from frozen features: seconds of work that fine-tuning then starts from.

A head fitted before the other layers move keeps fine-tuning from wrecking the pretrained
features (linear probing, then fine-tuning: Kumar et al. 2022).
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from flower_model.system.files import atomic_path
from training.data.sampling import Photos, class_weights
from training.engine.inference import answer_shared, fastest_runtime
from training.recipe import Recipe

FEATURES_FILE = "probe.npy"  # in a run's folder: what the probe saw


def probe_head(
    network: nn.Module, photos: Photos, recipe: Recipe, *, device: torch.device, bf16: bool
) -> np.ndarray:
    """Sets the head of `network` from the features of the training photos.

    Args:
        network: A timm network with pretrained features.
        photos: Decoded photos with their class indices.
        recipe: A run with a `probe` section.
        device: Where the network lies.
        bf16: Whether the pass runs in bf16.

    Returns:
        The features (photos, channels) float32.
    """
    assert recipe.probe
    size = recipe.probe.image_size
    runtime_of = partial(fastest_runtime, network, device=device, bf16=bf16, size=size)
    _, features = answer_shared(network, runtime_of, photos.train, title="probing")
    balance = recipe.data.balance
    set_head(
        network, *fit_head(features, photos.train_targets, l2=recipe.probe.l2, balance=balance)
    )
    return features


def save_features(run: Path, features: np.ndarray) -> None:
    """Writes the probe's features (photos, channels) into a run's folder, in 16 bits."""
    with atomic_path(run / FEATURES_FILE) as temporary, temporary.open("wb") as file:
        np.save(file, features.astype(np.float16))


def load_features(run: Path) -> np.ndarray | None:
    """The features (photos, channels) float32 that `save_features` wrote, or None if it did not."""
    path = run / FEATURES_FILE
    return np.load(path).astype(np.float32) if path.exists() else None


def fit_head(
    features: np.ndarray, targets: np.ndarray, *, l2: float, balance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression on standardised features.

    Args:
        features: (photos, channels) float32.
        targets: (photos,) int class indices, every class present.
        l2: Weight of the squared weights in the loss, per photo.
        balance: A photo counts (size of its class) ** -balance.

    Returns:
        weight (classes, channels) and bias (classes,) float32 for the raw features.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    weights = class_weights(targets, balance)
    regression = LogisticRegression(C=1 / (l2 * len(targets)), max_iter=200, tol=1e-3)
    regression.fit((features - mean) / deviation, targets, weights / weights.mean())
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # for two classes scikit-learn gives the second one's logit alone
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / deviation
    return weight.astype(np.float32), (bias - weight @ mean).astype(np.float32)


def set_head(network: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    """Copies weight (classes, channels) and bias (classes,) into a timm network's last layer."""
    head = network.get_classifier()  # type: ignore[operator]  # timm networks have it
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight).reshape(head.weight.shape))
        head.bias.copy_(torch.from_numpy(bias))
