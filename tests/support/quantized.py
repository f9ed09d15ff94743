"""A small model with a quantization."""

from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from tests.support.drawn import COLOURS, draw_photo
from training.calibration.quantize import quantize_folder
from training.calibration.synthetic import as_photos


def save_quantized_model(folder: Path) -> Path:
    """Save a network with random weights, quantized with drawn photos, as a weights folder."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=5)
    for module in network.modules():  # as after training: no layer is without effect
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.5)
    nn.init.normal_(network.fc.weight)
    config = ModelConfig("test_resnet", tuple("abcde"), temperature=10.0)
    FlowerClassifier(network, config, device="cpu").save_pretrained(folder)
    photos = [np.asarray(draw_photo(colour, n)) for colour in COLOURS.values() for n in range(4)]
    quantize_folder(folder, as_photos(photos))
    return folder
