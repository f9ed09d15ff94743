"""Logits and features of many photos, as fast as the machine gives them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, gather_object, tqdm
from timm.data import resolve_data_config
from torch import nn

from flower_model.errors import ConversionError
from flower_model.photos.transform import PhotoTransform
from flower_model.runtimes.base import Runtime
from flower_model.runtimes.pytorch import TorchRuntime
from flower_model.runtimes.selection import resolve_runtime
from flower_model.system.cores import usable_cores
from training.data.decoded import DecodedPhotos

THREADS = min(8, usable_cores())  # that make pictures pixels


def torch_runtime(
    network: nn.Module, *, device: torch.device, bf16: bool, size: int | None = None
) -> TorchRuntime:
    """A network that goes on changing, run where it lies.

    Args:
        network: A timm network; it is left in evaluation mode.
        device: Where it lies.
        bf16: Whether the pass runs in bf16.
        size: Side in pixels of what it looks at; None is what it is tested with.
    """
    return TorchRuntime(network, device, "bfloat16" if bf16 else "float32", _data(network, size))


def fastest_runtime(
    network: nn.Module, *, device: torch.device, bf16: bool, size: int | None = None
) -> Runtime:
    """A network as it is now, for so many photos that it is worth compiling: see `torch_runtime`."""
    if resolve_runtime("auto", device) == "openvino":
        from flower_model.runtimes.openvino import OpenVINORuntime, compile_options, shared_core
        from flower_model.runtimes.openvino_conversion import convert

        options = compile_options("bf16" if bf16 else "f32")
        with suppress(ConversionError):
            model, data_config = convert(network, _data(network, size))
            compiled = shared_core().compile_model(model, "CPU", options)
            return OpenVINORuntime(compiled, data_config)
    return torch_runtime(network, device=device, bf16=bf16, size=size)


def _data(network: nn.Module, size: int | None) -> dict[str, Any]:
    return resolve_data_config({"input_size": (3, size, size)} if size else {}, model=network)


def answer_photos(
    runtime: Runtime, photos: DecodedPhotos, *, title: str, batch_size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Runs a network over photos, as those see them who ask it.

    Returns:
        Logits (photos, classes) and pooled features (photos, channels), float32.
    """
    transform = PhotoTransform.from_data_config(runtime.data_config)

    def pixels_of(index: int) -> np.ndarray:
        return transform.to_pixels(photos.image(index))

    logits, features = [], []
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(photos), desc=title, unit=" photos", leave=False) as bar,
    ):
        for start in range(0, len(photos), batch_size):
            indices = range(start, min(start + batch_size, len(photos)))
            outputs = runtime(np.stack(list(pool.map(pixels_of, indices))))
            logits.append(outputs.logits)
            features.append(outputs.features)
            bar.update(len(indices))
    return np.concatenate(logits), np.concatenate(features)


def answer_shared(
    network: nn.Module, runtime_of: Callable[[], Runtime], photos: DecodedPhotos, *, title: str
) -> tuple[np.ndarray, np.ndarray]:
    """`answer_photos`, the photos divided among the processes of a run, all of which call it.

    Args:
        network: That every process has.
        runtime_of: Makes what runs it.
        photos: All of them.
        title: Of the progress bar.

    Returns:
        The same for every process: logits (photos, classes) and features (photos, channels).
    """
    state = PartialState()
    if state.num_processes == 1:
        return answer_photos(runtime_of(), photos, title=title)
    for buffer in network.buffers():  # each process has batch norm's statistics of its own photos
        broadcast(buffer)
    share = photos.shard(state.process_index, state.num_processes)
    outputs = gather_object([answer_photos(runtime_of(), share, title=title)])

    def in_order(parts: list[np.ndarray]) -> np.ndarray:
        whole = np.empty((len(photos), parts[0].shape[1]), np.float32)
        for process, part in enumerate(parts):
            whole[process :: state.num_processes] = part
        return whole

    return in_order([logits for logits, _ in outputs]), in_order([f for _, f in outputs])
