"""Quantization of an OpenVINO model: fake-quantize operations, which compile to int8 kernels."""

from collections.abc import Collection

import numpy as np
from openvino import opset13 as opset

from flower_model.errors import ModelError, shorten
from flower_model.quantization import QUANTIZATION_FILE, Quantization
from flower_model.runtimes.openvino import ov

PREFIX = "__module.network."  # of the names that tracing a `PixelNetwork` gives
LAYERS = ("Convolution", "GroupConvolution", "MatMul")
ELEMENTWISE = ("Add", "MaxPool")  # computed in 8 bits where their inputs are
ACTIVATION_LEVELS, WEIGHT_LEVELS = 256, 255  # the latter from -127 to 127


def quantize_model(model: ov.Model, quantization: Quantization) -> None:
    """Insert fake-quantize operations and correct biases, in place.

    Weights are rounded symmetrically; the range of an output channel is its largest magnitude.

    Raises:
        ModelError: If the quantization was found for another network.
    """
    outputs = module_outputs(model)
    layers = set()
    for name, correction in quantization.corrections.items():
        layer = find_layer(outputs[name]) if name in outputs else None
        bias = bias_of(outputs[name]) if layer else None
        if layer is None or bias is None or bias.size != correction.size:
            raise _mismatch(name)
        layers.add(layer.get_friendly_name())
        _quantize_weights(layer)
        corrected = opset.constant(bias + correction.reshape(bias.shape), np.float32)
        outputs[name].input(1).replace_source_output(corrected.output(0))
    for name, bounds in quantization.ranges.items():
        if name not in outputs:
            raise _mismatch(name)
        _quantize_output(outputs[name], bounds, layers)
    model.validate_nodes_and_infer_types()


def module_outputs(model: ov.Model) -> dict[str, ov.Node]:
    """Return the operation that computes each module's output, by the module's name in timm."""
    found = {}
    for node in model.get_ordered_ops():  # in the order of execution: the last one remains
        name = node.get_friendly_name()
        if name.startswith(PREFIX) and node.get_type_name() not in ("Constant", "Convert"):
            found[name.removeprefix(PREFIX).partition("/")[0]] = node
    return found


def find_layer(output: ov.Node) -> ov.Node | None:
    """Return the operation that multiplies by constant weights before a bias is added, if any."""
    if bias_of(output) is None:
        return None
    node = output.input_value(0).get_node()
    is_layer = node.get_type_name() in LAYERS and _constant(node.input_value(1)) is not None
    return node if is_layer else None


def bias_of(output: ov.Node) -> np.ndarray | None:
    """Return the bias that is added to a layer's product, None if there is none."""
    return _constant(output.input_value(1)) if output.get_type_name() == "Add" else None


def _quantize_weights(layer: ov.Node) -> None:
    weights = _constant(layer.input_value(1))
    assert weights is not None
    axes = tuple(axis for axis in range(weights.ndim) if axis not in _channel_axes(layer))
    high = np.abs(weights).max(axis=axes, keepdims=True)
    high = np.maximum(high, np.finfo(np.float32).tiny)  # a channel of zeros
    layer.input(1).replace_source_output(_fake_quantize(weights, -high, high, WEIGHT_LEVELS))


def _channel_axes(layer: ov.Node) -> tuple[int, ...]:
    """Return the axes of a layer's weights that are output channels."""
    if layer.get_type_name() == "MatMul":
        return (0,) if layer.get_attributes()["transpose_b"] else (1,)
    return (0, 1) if layer.get_type_name() == "GroupConvolution" else (0,)


def _quantize_output(output: ov.Node, bounds: np.ndarray, layers: Collection[str]) -> None:
    """Round an output for the operations that use it in 8 bits; the others get it unchanged."""
    users = [
        user
        for user in output.output(0).get_target_inputs()
        if user.get_node().get_type_name() in ELEMENTWISE
        or user.get_node().get_friendly_name() in layers
    ]
    if users:
        quantized = _fake_quantize(output.output(0), bounds[:1], bounds[1:], ACTIVATION_LEVELS)
        for user in users:
            user.replace_source_output(quantized)


def _fake_quantize(
    values: ov.Output | np.ndarray, low: np.ndarray, high: np.ndarray, levels: int
) -> ov.Output:
    """Return values rounded to `levels` equal steps from `low` to `high`."""
    node = opset.constant(values, np.float32) if isinstance(values, np.ndarray) else values
    bounds = [opset.constant(bound, np.float32) for bound in (low, high, low, high)]
    return opset.fake_quantize(node, *bounds, levels).output(0)


def _constant(output: ov.Output) -> np.ndarray | None:
    """Return the value of a constant as float32, None if an output is not constant."""
    node = output.get_node()
    if node.get_type_name() == "Convert":  # stored in 16 bits
        node = node.input_value(0).get_node()
    if node.get_type_name() == "Reshape":
        value = _constant(node.input_value(0))
        return None if value is None else value.reshape(node.output(0).get_shape())
    return np.asarray(node.data, np.float32) if node.get_type_name() == "Constant" else None


def _mismatch(name: str) -> ModelError:
    return ModelError(
        f"{QUANTIZATION_FILE} does not fit the network at '{shorten(name)}'. "
        "Download the model again, or choose another precision."
    )
