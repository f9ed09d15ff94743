"""Flower identification from photos.

>>> from flower_model import FlowerClassifier
>>> model = FlowerClassifier.from_pretrained("weights")
>>> model.predict("photo.jpg").label
'dahlia'
"""

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


def __getattr__(name: str) -> Any:
    # Lazy: importing a model's dependencies takes a while, and `--help` should not wait for them.
    if name == "FlowerClassifier":
        from flower_model.classifier import FlowerClassifier

        return FlowerClassifier
    if name == "PlantPrediction":
        from flower_model.plant import PlantPrediction

        return PlantPrediction
    if name == "Prediction":
        from flower_model.prediction import Prediction

        return Prediction
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
