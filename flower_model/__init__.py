"""Flower identification from photos.

>>> from flower_model import FlowerClassifier
>>> model = FlowerClassifier.from_pretrained("weights")
>>> model.predict("photo.jpg").label
'dahlia'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flower_model.errors import (
    DataError,
    FlowerModelError,
    HubError,
    ImageError,
    ModelError,
    RecipeError,
)

if TYPE_CHECKING:
    from flower_model.classifier import FlowerClassifier
    from flower_model.plant import PlantPrediction
    from flower_model.prediction import Prediction

__all__ = [
    "DataError",
    "FlowerClassifier",
    "FlowerModelError",
    "HubError",
    "ImageError",
    "ModelError",
    "PlantPrediction",
    "Prediction",
    "RecipeError",
]


# Importing a model's dependencies takes a while, and `--help` should not wait for them.
LAZY = {"FlowerClassifier": "classifier", "PlantPrediction": "plant", "Prediction": "prediction"}


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{LAZY[name]}"), name)
