"""Linear probe: the head is fitted to frozen features before the other layers are trained.

Starting from a fitted head keeps fine-tuning from distorting the pretrained features (linear
probing, then fine-tuning: Kumar et al. 2022).
"""

from functools import partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from torch import nn

from flower_model.runtimes.base import Compute
from flower_model.serialization.network import set_head
from flower_model.system.files import atomic_path
from training.data.sampling import Photos, class_weights
from training.engine.inference import fastest_runtime, predict_distributed
from training.recipe import Recipe

FEATURES_FILE = "probe.npy"  # in the run's folder: features of the training photos


def probe_head(network: nn.Module, photos: Photos, recipe: Recipe, compute: Compute) -> np.ndarray:
    """Fit the head of a timm network with pretrained features to those of the training photos.

    Returns:
        The features (photos, channels) float32.
    """
    assert recipe.probe
    make_runtime = partial(
        fastest_runtime, network, compute, recipe.probe.image_size, photos=len(photos.train)
    )
    _, features = predict_distributed(network, make_runtime, photos.train, title="probing")
    weight, bias = fit_head(
        features, photos.train_targets, l2=recipe.probe.l2, balance=recipe.data.balance
    )
    set_head(network, weight, bias)
    return features


def save_features(run: Path, features: np.ndarray) -> None:
    """Write the features (photos, channels) of the probe to a run's folder, as float16."""
    with atomic_path(run / FEATURES_FILE) as temporary, temporary.open("wb") as file:
        np.save(file, features.astype(np.float16))


def load_features(run: Path) -> np.ndarray | None:
    """Return the features (photos, channels) float32 from `save_features`, None without a file."""
    path = run / FEATURES_FILE
    return np.load(path).astype(np.float32) if path.exists() else None


def fit_head(
    features: np.ndarray, targets: np.ndarray, *, l2: float, balance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit multinomial logistic regression to standardised features.

    Args:
        features: (photos, channels) float32.
        targets: (photos,) int class indices; every class occurs.
        l2: L2 penalty per photo.
        balance: The weight of a photo is (size of its class) ** -balance.

    Returns:
        weight (classes, channels) and bias (classes,) float32, for features as they are.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    weights = class_weights(targets, balance)
    regression = LogisticRegression(C=1 / (l2 * len(targets)), max_iter=200, tol=1e-3)
    regression.fit((features - mean) / deviation, targets, weights / weights.mean())
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # with two classes, scikit-learn returns only the second one's logit
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / deviation
    return weight.astype(np.float32), (bias - weight @ mean).astype(np.float32)
