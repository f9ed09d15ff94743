"""Logits and features of many photos, as fast as the machine gives them."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, gather_object, tqdm
from torch import nn
from torch.utils.data import DataLoader

from flower_model import FlowerClassifier
from flower_model.torch_runtime import TorchRuntime
from training.data import DecodedPhotos, TransformedPhotos

WORKERS = min(8, os.cpu_count() or 1)


def forward_photos(
    network: nn.Module,
    photos: DecodedPhotos,
    transform: Any,
    *,
    device: torch.device,
    bf16: bool,
    title: str,
    batch_size: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """Runs a network over photos in evaluation mode.

    Returns:
        Logits (photos, classes) and pooled features (photos, channels), float32.
    """
    dataset = TransformedPhotos(photos, np.zeros(len(photos), np.int64), transform)
    loader = DataLoader(dataset, batch_size, num_workers=WORKERS)
    network.eval()
    logits, features = [], []
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        tqdm(total=len(photos), desc=title, unit=" photos", leave=False) as bar,
    ):
        for batch, _ in loader:
            batch = batch.to(device, memory_format=torch.channels_last)
            batch_logits, batch_features = TorchRuntime.forward(network, batch)
            logits.append(batch_logits)
            features.append(batch_features)
            bar.update(len(batch))
    return torch.cat(logits).numpy(), torch.cat(features).numpy()


def forward_shared(
    network: nn.Module, photos: DecodedPhotos, transform: Any, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """`forward_photos`, the photos divided among the processes of a run, all of which call it.

    Returns:
        The same for every process: logits (photos, classes) and features (photos, channels).
    """
    state = PartialState()
    if state.num_processes == 1:
        return forward_photos(network, photos, transform, **options)
    for buffer in network.buffers():  # each process has batch norm's statistics of its own photos
        broadcast(buffer)
    share = photos.share(state.process_index, state.num_processes)
    outputs = gather_object([forward_photos(network, share, transform, **options)])

    def in_order(parts: list[np.ndarray]) -> np.ndarray:
        whole = np.empty((len(photos), parts[0].shape[1]), np.float32)
        for process, part in enumerate(parts):
            whole[process :: state.num_processes] = part
        return whole

    return in_order([logits for logits, _ in outputs]), in_order([f for _, f in outputs])


def answer_photos(
    model: FlowerClassifier, photos: DecodedPhotos, *, title: str, batch_size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Runs a model over photos in the runtime and through the transform that it answers with.

    Returns:
        Logits (photos, classes) and pooled features (photos, channels), float32.
    """

    def pixels_of(index: int) -> np.ndarray:
        return model.photo_transform.to_pixels(photos.picture(index))

    logits, features = [], []
    with (
        ThreadPoolExecutor(WORKERS) as pool,
        tqdm(total=len(photos), desc=title, unit=" photos", leave=False) as bar,
    ):
        for start in range(0, len(photos), batch_size):
            indices = range(start, min(start + batch_size, len(photos)))
            outputs = model.runtime(np.stack(list(pool.map(pixels_of, indices))))
            logits.append(outputs.logits)
            features.append(outputs.features)
            bar.update(len(indices))
    return np.concatenate(logits), np.concatenate(features)
