"""Conversion of a timm network to an OpenVINO model."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from flower_model.errors import ConversionError
from flower_model.runtimes.openvino import ov, shared_core
from flower_model.runtimes.pixel_network import PixelNetwork


def convert(
    network: nn.Module, data_config: Mapping[str, Any] | None = None
) -> tuple[ov.Model, Mapping[str, Any]]:
    """Convert a network including its input normalisation.

    Args:
        network: A timm network on the CPU.
        data_config: timm's data config; by default the network's own, at its test size.

    Returns:
        The model, which maps pixels (photos, height, width, 3) uint8 to logits, features and, if
        they are exact, class activation maps; and timm's data config.

    Raises:
        ConversionError: If the network has an operation that OpenVINO does not support.
    """
    pixel_network = PixelNetwork(network.eval(), data_config).eval()
    channels, height, width = pixel_network.data_config["input_size"]
    pixels = torch.zeros((2, height, width, channels), dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # torch.jit is deprecated
            # OpenVINO would trace with check_trace=True, which runs the network three times.
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                pixel_network, pixels, check_trace=False
            )
            model = ov.convert_model(traced, example_input=pixels)
        model.reshape([-1, height, width, channels])
    except Exception as error:  # tracing runs arbitrary network code
        raise ConversionError(
            f"OpenVINO can't run this network ({type(error).__name__}). Use the runtime torch."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        # Weights in 16 bits take half the memory. OpenVINO would clamp larger values.
        ov.save_model(model, path, compress_to_fp16=_fits_in_fp16(model))
        return shared_core().read_model(path), pixel_network.data_config


def _fits_in_fp16(model: ov.Model) -> bool:
    constants = (op.data for op in model.get_ops() if op.get_type_name() == "Constant")
    largest = max(
        float(np.abs(data).max(initial=0)) for data in constants if data.dtype == np.float32
    )
    return bool(largest <= np.finfo(np.float16).max)
