"""The processor's peak in each precision: a chain of large convolutions in OpenVINO.

    python -m benchmarks.inference.peak

prints a line of JSON, precision -> TFLOP/s (for int8, 10¹² operations/s).
"""

import json
import time

import numpy as np
import openvino as ov
from openvino import opset13 as opset

CHANNELS, SIDE, LAYERS = 512, 16, 8
REPEATS = 12


def peak(precision: str) -> float:
    """Return the TFLOP/s of 3 x 3 convolutions, the best of `REPEATS` passes."""
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(CHANNELS, CHANNELS, 3, 3)) / CHANNELS).astype(np.float32)
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    pixels = opset.parameter([1, CHANNELS, SIDE, SIDE], np.float32)
    node = pixels
    for _ in range(LAYERS):
        kernel = opset.constant(weights)
        if precision == "int8":
            node = _round(node, np.float32(0), np.float32(1), 256)
            kernel = _round(kernel, -largest, largest, 255)
        node = opset.relu(opset.convolution(node, kernel, [1, 1], [1, 1], [1, 1], [1, 1]))
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    compiled = ov.Core().compile_model(ov.Model([node], [pixels]), "CPU", hint)
    request, inputs = compiled.create_infer_request(), [np.zeros(pixels.shape, np.float32)]
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        request.infer(inputs)
        seconds.append(time.perf_counter() - start)
    return 2 * LAYERS * 9 * CHANNELS**2 * SIDE**2 / min(seconds) / 1e12


def _round(node: ov.Node, low: np.ndarray, high: np.ndarray, levels: int) -> ov.Node:
    bounds = [opset.constant(bound, np.float32) for bound in (low, high, low, high)]
    return opset.fake_quantize(node, *bounds, levels)


if __name__ == "__main__":
    print(json.dumps({precision: peak(precision) for precision in ("fp32", "bf16", "int8")}))
