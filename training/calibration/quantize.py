"""Quantization of a finished model to int8, by NNCF on its OpenVINO model and training photos."""

import contextlib
import importlib.util
import io
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, read_config, write_content
from flower_model.errors import ConversionError
from flower_model.photos.transform import PhotoTransform
from flower_model.quantization import Quantization, save_quantization
from flower_model.serialization.network import load_network
from flower_model.system.files import file_digest
from training.data.decoded import DecodedPhotos
from training.reporting.failure import report_failure

if TYPE_CHECKING:
    from openvino import Model, Node

PHOTOS = 300
NO_LAYER = "No layer of this network can be computed in int8. Use it without quantization."
# Of the ranges of outputs that are added to others, since clipping them adds up along the residual
# stream: the squared error of the shipped model's logits on 985 photos falls by 10 %.
WIDENING = 1.35


def is_available() -> bool:
    """Return True if NNCF and OpenVINO are installed."""
    return all(map(importlib.util.find_spec, ("nncf", "openvino")))


def try_quantize_folder(folder: Path, train: DecodedPhotos) -> None:
    """Quantize a weights folder if that is possible; a failure is reported and leaves it as it was.

    The arguments are those of `quantize_folder`.
    """
    if is_available():
        with report_failure("The quantization to int8"), contextlib.suppress(ConversionError):
            quantize_folder(folder, train)


def quantize_folder(folder: Path, train: DecodedPhotos) -> Quantization:
    """Write quantization.safetensors to a weights folder, and mention it in its config.json.

    It is found from `PHOTOS` of the training photos.

    Raises:
        ModelError: If the folder is damaged.
        ConversionError: If OpenVINO can't run the network, or none of its layers in int8.
    """
    from flower_model.runtimes.openvino_conversion import convert

    weights_sha256 = file_digest(folder / WEIGHTS_FILE)
    model, data_config = convert(load_network(folder, read_config(folder / CONFIG_FILE)))
    transform, photos = PhotoTransform.from_data_config(data_config), train.sample(PHOTOS)
    pixels = [transform.to_pixels(photos.image(index))[None] for index in range(len(photos))]
    quantization = quantize(model, pixels, weights_sha256)
    save_quantization(quantization, folder)  # first, since config.json refers to it
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    content["flower_model"] |= {"quantization": {"photos": len(photos)}}
    write_content(folder, content)
    return quantization


def quantize(model: "Model", pixels: Sequence[np.ndarray], weights_sha256: str) -> Quantization:
    """Find the ranges of activations and the corrections of layers.

    NNCF would also round the input of the first layer, that of the head, and the outputs of layers
    that are only added to others: this costs more accuracy than all the rest, and gains little time.

    Args:
        model: The network, from `flower_model.runtimes.openvino_conversion.convert`.
        pixels: Photos, (1, height, width, 3) uint8 each.
        weights_sha256: Hexadecimal SHA-256 of the network's weights file.

    Raises:
        ConversionError: If no layer can be quantized.
    """
    from flower_model.runtimes.openvino_quantization import bias_of, find_layer, module_outputs

    outputs = module_outputs(model)
    layers = {
        name: layer
        for name, output in outputs.items()
        if (layer := find_layer(output)) and "Result" not in _users(output)
    }
    if not layers:
        raise ConversionError(NO_LAYER)
    quantized = _post_training_quantization(model, pixels)
    operations = {node.get_friendly_name(): node for node in quantized.get_ops()}
    module_of = {node.get_friendly_name(): name for name, node in outputs.items()}
    ranges: dict[str, np.ndarray] = {}
    corrections: dict[str, np.ndarray] = {}
    for name, layer in layers.items():
        rounding = _rounding_before(operations[layer.get_friendly_name()])
        if rounding is None:
            continue
        rounded = module_of.get(rounding.input_value(0).get_node().get_friendly_name())
        low, high = (_scalar(rounding, port) for port in (1, 2))
        if rounded is None or not low <= 0 <= high > low:  # None: the photo itself
            continue
        factor = WIDENING if "Add" in _users(outputs[rounded]) else 1.0
        ranges[rounded] = np.array([factor * low, factor * high], np.float32)
        bias, corrected = (
            bias_of(node) for node in (outputs[name], operations[outputs[name].get_friendly_name()])
        )
        assert bias is not None and corrected is not None
        corrections[name] = (corrected - bias).ravel()
    if not corrections:
        raise ConversionError(NO_LAYER)
    return Quantization(ranges, corrections, weights_sha256)


def _post_training_quantization(model: "Model", pixels: Sequence[np.ndarray]) -> "Model":
    with _quiet():
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        return nncf.quantize(
            model,
            nncf.Dataset(pixels),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pixels),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # Ranges with the smallest squared error. Those up to the mean of the photos' largest
                # values, the default, have 1.3 times as much error in the logits; those up to the
                # largest of all, 3.1 times.
                activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM
            ),
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars and notices of NNCF, and keep it from reporting to a server."""
    from flower_model.runtimes.openvino import without_telemetry

    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            without_telemetry(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logging.disable(disabled)


def _rounding_before(layer: "Node") -> "Node | None":
    """Return the fake-quantize operation that rounds the input of a layer, if there is one."""
    node = layer.input_value(0).get_node()
    while node.get_type_name() == "MaxPool":
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "FakeQuantize" else None


def _scalar(rounding: "Node", port: int) -> float:
    """Return the lowest (1) or the highest value (2) of a fake-quantize operation."""
    return float(np.asarray(rounding.input_value(port).get_node().data).item())


def _users(output: "Node") -> set[str]:
    """Return the types of the operations that use an output."""
    return {user.get_node().get_type_name() for user in output.output(0).get_target_inputs()}
