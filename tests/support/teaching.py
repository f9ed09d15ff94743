"""A small model that knows two of the drawn classes, with the references to teach it the third."""

from pathlib import Path

import numpy as np
import timm
import torch
from sklearn.linear_model import LogisticRegression

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from flower_model.rejection import Rejection
from flower_model.serialization.references import References, save_references
from flower_model.system.files import file_digest
from tests.support.drawn import COLOURS, draw_photo

KNOWN, NEW = ("red disc", "yellow disc"), "blue disc"


def disc_photos(label: str, count: int, offset: int = 0) -> list[np.ndarray]:
    """`count` drawn photos of a class; other offsets draw other photos."""
    return [np.asarray(draw_photo(COLOURS[label], offset + seed)) for seed in range(count)]


def make_teachable(folder: Path, rejection: Rejection | None = None) -> Path:
    """Write a weights folder whose random network has a head fitted to drawn photos of `KNOWN`."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=len(KNOWN))
    config = ModelConfig("test_resnet", KNOWN, {"red disc": "Orbis ruber"})
    if rejection:
        config.details["rejection"] = {"method": rejection.name}
    model = FlowerClassifier(network, config, device="cpu", rejection=rejection)
    photos = [photo for label in KNOWN for photo in disc_photos(label, 20)]
    targets = np.repeat(np.arange(len(KNOWN)), 20)
    features = features_of(model, photos)
    regression = LogisticRegression(C=100, max_iter=2000).fit(features, targets)
    head = network.get_classifier()
    with torch.no_grad():  # the two logits differ by the regression's
        weight = torch.tensor(np.vstack([-regression.coef_, regression.coef_]) / 2)
        head.weight.copy_(weight)
        head.bias.copy_(torch.tensor([-1.0, 1.0]) * float(regression.intercept_[0]) / 2)
    model.save_pretrained(folder)
    references = References(features.astype(np.float16), targets)
    save_references(references, folder, file_digest(folder / "model.safetensors"))
    return folder


def features_of(model: FlowerClassifier, photos: list[np.ndarray]) -> np.ndarray:
    """The pooled features (photos, channels) of photos."""
    return model.runtime(np.stack([model.to_pixels(photo) for photo in photos])).features
