"""The timm network of a weights folder, loaded after checks and saved."""

import filecmp
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models._hub import save_config_for_hf
from torch import nn

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, ModelConfig, read_content
from flower_model.errors import ModelError, shorten
from flower_model.serialization.checkpoint import (
    convert_checkpoint,
    find_mismatch,
    strip_wrappers,
)
from flower_model.serialization.timm_config import model_args, pretrained_cfg
from flower_model.system.files import atomic_path

logging.getLogger("timm").setLevel(logging.WARNING)  # hide "Loading pretrained weights…"


def load_network(folder: Path, config: ModelConfig) -> nn.Module:
    """Build the network of a weights folder and load its weights.

    Raises:
        ModelError: If a file is missing or damaged, timm does not know the architecture, or the
            tensors don't match the architecture and the number of labels.
    """
    weights = folder / WEIGHTS_FILE
    if not timm.is_model(config.architecture):
        raise ModelError(
            f"'{shorten(folder, 120)}' has the architecture '{shorten(config.architecture)}', which "
            f"timm {timm.__version__} does not have. Upgrade timm, or choose another model."
        )
    stored = _map_tensors(weights)
    content = read_content(folder / CONFIG_FILE)
    with torch.device("meta"):  # takes no memory, however large
        blank = _create(folder, config, content)
    tensors = strip_wrappers(stored, blank)
    mismatch = find_mismatch(tensors, blank, len(config.labels))
    if len(tensors) < len(stored):
        mismatch = "it has two tensors for the same layer"
    if mismatch:
        converted = convert_checkpoint(tensors, blank, config.architecture)
        if converted is None or find_mismatch(converted, blank, len(config.labels)):
            raise ModelError(
                f"'{shorten(weights, 70)}' does not fit its config.json with the architecture "
                f"{shorten(config.architecture, 40)}: {shorten(mismatch, 90)}. Use both files of "
                "the same model."
            )
        tensors = converted
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                f"'{shorten(weights, 120)}' holds '{shorten(name)}' with NaN or infinite values. "
                "Download the model again, or train it again."
            )
    network = _create(folder, config, content)
    network.load_state_dict(tensors)
    return network


def _map_tensors(weights: Path) -> dict[str, torch.Tensor]:
    """Return the tensors, mapped into memory: only those that are used are read from disk."""
    path = shorten(weights, 120)
    try:
        return load_file(weights)
    except FileNotFoundError:
        raise ModelError(f"There is no '{path}'. Download the model again.") from None
    except (SafetensorError, OSError):
        raise ModelError(f"'{path}' is damaged or cut short. Download the model again.") from None


def _create(folder: Path, config: ModelConfig, content: dict[str, Any]) -> nn.Module:
    """Build the network with random weights, from the checked parts of config.json only."""
    # An empty pretrained_cfg would be replaced by the architecture's; timm doesn't do that either.
    preprocessing = {"num_classes": len(config.labels), **pretrained_cfg(content)}
    arguments = {"pretrained_cfg": preprocessing, **model_args(content)}
    try:
        network: nn.Module = timm.create_model(
            config.architecture, pretrained=False, num_classes=len(config.labels), **arguments
        )
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"timm can't build the model in '{shorten(folder, 90)}' ({shorten(reason, 120)}). "
            "Correct its config.json, or upgrade timm."
        ) from None
    return network


def save_weights(network: nn.Module, folder: Path) -> None:
    """Write model.safetensors in timm's Hub layout atomically; delete the config.json of other weights.

    Matrices are stored in 16 bits; vectors (batch norm, biases), and matrices with values beyond
    the range of 16 bits, in 32.
    """
    tensors = network.state_dict().items()
    stored = {name: _halve(tensor).cpu().contiguous() for name, tensor in tensors}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(stored, temporary, metadata={"format": "pt"})
        # Labels and temperature of other weights would give wrong answers until `save_config`.
        if not _is_same(temporary, folder / WEIGHTS_FILE):
            (folder / CONFIG_FILE).unlink(missing_ok=True)


def save_config(network: nn.Module, config: ModelConfig, folder: Path) -> None:
    """Write config.json in timm's Hub layout atomically."""
    with atomic_path(folder / CONFIG_FILE) as temporary:
        save_config_for_hf(network, str(temporary), model_config=config.to_timm())
        content: dict[str, Any] = json.loads(temporary.read_text(encoding="utf-8"))
        # transformers passes these two itself and fails if model_args has them as well.
        for key in ("num_classes", "in_chans"):
            content.get("model_args", {}).pop(key, None)
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def set_head(network: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    """Copy weight (classes, channels) and bias (classes,) to the last layer of a timm network."""
    head = network.get_classifier()  # type: ignore[operator]  # a timm network
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight).reshape(head.weight.shape))
        head.bias.copy_(torch.from_numpy(bias))


def _is_same(file: Path, other: Path) -> bool:
    return other.exists() and filecmp.cmp(file, other, shallow=False)


def _halve(tensor: torch.Tensor) -> torch.Tensor:
    """Return matrices in 16 bits, unless a value is too large for them."""
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    half = tensor.half()
    return half if half.isfinite().all() else tensor.float()
