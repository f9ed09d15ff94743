"""Logits and features of decoded photos, computed in batches on one or several processes."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast, gather_object, tqdm
from timm.data import resolve_data_config
from torch import nn

from flower_model.errors import ConversionError
from flower_model.photos.transform import PhotoTransform
from flower_model.plant import photo_outputs, stack_outputs
from flower_model.runtimes.base import Compute, Precision, Runtime
from flower_model.runtimes.pytorch import TorchRuntime
from flower_model.runtimes.selection import resolve_runtime
from training.data.decoded import DecodedPhotos

BATCH_SIZE = 64
FEW_PHOTOS = 100  # below, PyTorch has answered before OpenVINO has compiled the network


def predict_photos(
    runtime: Runtime, photos: DecodedPhotos, *, title: str
) -> tuple[np.ndarray, np.ndarray]:
    """Run a network over photos, with the preprocessing that it has when it is deployed.

    Returns:
        Logits (photos, classes) and pooled features (photos, channels), float32.
    """
    transform = PhotoTransform.from_data_config(runtime.data_config)

    def to_pixels(index: int) -> np.ndarray:
        return transform.to_pixels(photos.image(index))

    outputs = photo_outputs(range(len(photos)), to_pixels, runtime, batch_size=BATCH_SIZE)
    bar = tqdm(outputs, title, len(photos), unit=" photos", leave=False)
    logits, features, _ = stack_outputs(bar)
    return logits, features


def predict_distributed(
    network: nn.Module, make_runtime: Callable[[], Runtime], photos: DecodedPhotos, *, title: str
) -> tuple[np.ndarray, np.ndarray]:
    """Divide `predict_photos` among the processes of a run, all of which must call this.

    Every process has a copy of the network, whose runtime `make_runtime` creates, and all photos.

    Returns:
        Logits (photos, classes) and features (photos, channels), the same in every process.
    """
    state = PartialState()
    if state.num_processes == 1:
        return predict_photos(make_runtime(), photos, title=title)
    for buffer in network.buffers():  # each process has the batch norm statistics of its photos
        broadcast(buffer)
    mine = photos.subset(range(state.process_index, len(photos), state.num_processes))
    # With few photos, the last processes have none.
    part = [predict_photos(make_runtime(), mine, title=title)] if len(mine) else []
    outputs = gather_object(part)

    def in_order(parts: Sequence[np.ndarray]) -> np.ndarray:
        whole = np.empty((len(photos), parts[0].shape[1]), np.float32)
        for process, part in enumerate(parts):
            whole[process :: state.num_processes] = part
        return whole

    logits, features = map(in_order, zip(*outputs, strict=True))
    return logits, features


def compute_of(accelerator: Accelerator) -> Compute:
    """Return the device and precision of a run."""
    bf16 = accelerator.mixed_precision == "bf16"
    return Compute(str(accelerator.device), "bf16" if bf16 else "fp32")


def unquantized_precision() -> Precision:
    """Return the fastest precision other than int8, so that fitting again gives the result of the run."""
    if resolve_runtime() == "torch":
        return "auto"
    from flower_model.runtimes.openvino import resolve_precision

    return resolve_precision("auto", quantized=False)


def torch_runtime(network: nn.Module, compute: Compute, size: int | None = None) -> TorchRuntime:
    """Return a runtime that shares the weights of a network in training.

    Calling it leaves the network in evaluation mode. `size` is the input size in pixels; None is the
    network's test size.
    """
    return TorchRuntime(network, compute, _data(network, size))


def fastest_runtime(
    network: nn.Module, compute: Compute, size: int | None = None, *, photos: int = FEW_PHOTOS
) -> Runtime:
    """Return a runtime for a number of photos with the current weights, compiled if that is faster.

    The other arguments are those of `torch_runtime`. Train the network only after the last call.
    """
    if photos >= FEW_PHOTOS and resolve_runtime("auto", compute.device) == "openvino":
        from flower_model.runtimes.openvino import OpenVINORuntime, compile_model
        from flower_model.runtimes.openvino_conversion import convert

        with suppress(ConversionError):
            model, data_config = convert(network, _data(network, size))
            compiled = compile_model(model, compute.precision)
            return OpenVINORuntime(compiled, compute.precision, data_config)
    return torch_runtime(network, compute, size)


def _data(network: nn.Module, size: int | None) -> dict[str, Any]:
    return resolve_data_config({"input_size": (3, size, size)} if size else {}, model=network)
