"""A timm network as OpenVINO model."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flower_model.errors import ConversionError
from flower_model.runtimes.openvino import ov, shared_core
from flower_model.runtimes.pixel_network import PixelNetwork


def convert(
    network: nn.Module, data_config: Mapping[str, Any] | None = None
) -> tuple[ov.Model, Mapping[str, Any]]:
    """Converts a network with its normalisation.

    Args:
        network: A timm network on the CPU.
        data_config: What photos it takes, as timm says it; None is what it is tested with.

    Returns:
        The model, from pixels (photos, height, width, 3) uint8 to logits, features and, if the
        network has them, maps; and timm's data config.

    Raises:
        ConversionError: If OpenVINO does not know all that the network does.
    """
    pixel_network = PixelNetwork(network.eval(), data_config).eval()
    channels, height, width = pixel_network.data_config["input_size"]
    pixels = torch.zeros((2, height, width, channels), dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # torch would like to be traced in a newer way
            # Left to itself, OpenVINO has torch trace three times over, to compare.
            traced = torch.jit.trace(pixel_network, pixels, check_trace=False)
            model = ov.convert_model(traced, example_input=pixels)
        model.reshape([-1, height, width, channels])
    except Exception as error:  # tracing runs the network's code, which may do anything
        raise ConversionError(
            f"OpenVINO can't run this network ({type(error).__name__}): choose the runtime torch."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path)  # which halves it: weights are stored in 16 bits
        return shared_core().read_model(path), pixel_network.data_config
