"""The timm network of a weights folder, loaded after checks and saved."""

import json
import logging
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from timm.models._hub import save_config_for_hf
from torch import nn

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, ModelConfig, read_content
from flower_model.errors import ModelError, shorten
from flower_model.serialization.checkpoint import (
    Stored,
    convert_checkpoint,
    find_mismatch,
    strip_wrappers,
)
from flower_model.serialization.timm_config import model_args, pretrained_cfg
from flower_model.system.files import atomic_path

logging.getLogger("timm").setLevel(logging.WARNING)  # hide "Loading pretrained weights…"


def load_network(folder: Path, config: ModelConfig) -> nn.Module:
    """Build the network of a weights folder and load its weights.

    Args:
        folder: Folder with config.json and model.safetensors.
        config: The folder's configuration.

    Raises:
        ModelError: If a file is missing or damaged, timm does not know the architecture, or the
            tensors don't match the architecture and the number of labels.
    """
    weights = folder / WEIGHTS_FILE
    if not timm.is_model(config.architecture):
        raise ModelError(
            f"'{shorten(folder, 120)}' has the architecture '{shorten(config.architecture)}', which "
            f"timm {timm.__version__} does not have."
        )
    header = _read_header(weights)
    content = read_content(folder / CONFIG_FILE)
    with torch.device("meta"):  # takes no memory, however large
        blank = _create(folder, config, content)
    names = strip_wrappers(header, blank)
    stored = {names[name]: tensor for name, tensor in header.items()}
    mismatch = find_mismatch(stored, blank, len(config.labels))
    if len(stored) < len(header):
        mismatch = "it has two tensors for the same layer"
    tensors = {names[name]: tensor for name, tensor in load_file(weights).items()}
    if mismatch:
        converted = convert_checkpoint(tensors, blank, config.architecture)
        if converted is None or _mismatch_of(converted, blank, config):
            raise ModelError(
                f"'{shorten(weights, 80)}' does not fit its config.json with the architecture "
                f"{shorten(config.architecture, 40)}: {shorten(mismatch, 120)}."
            )
        tensors = converted
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                f"'{shorten(weights, 120)}' holds '{shorten(name)}' with NaN or infinite values."
            )
    network = _create(folder, config, content)
    network.load_state_dict(tensors)
    return network


def _read_header(weights: Path) -> dict[str, Stored]:
    """Return the shape and type of each tensor; the library verifies the length of the file."""
    path = shorten(weights, 120)
    try:
        with safe_open(weights, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            return {
                name: Stored(part.get_shape(), part.get_dtype()) for name, part in slices.items()
            }
    except FileNotFoundError:
        raise ModelError(f"There is no '{path}'. Download the model again.") from None
    except (SafetensorError, OSError):
        raise ModelError(f"'{path}' is damaged or cut short. Download the model again.") from None


def _mismatch_of(
    tensors: dict[str, torch.Tensor], network: nn.Module, config: ModelConfig
) -> str | None:
    stored = {name: Stored(list(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    return find_mismatch(stored, network, len(config.labels))


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
            f"timm can't build the model in '{shorten(folder, 100)}' ({shorten(reason, 140)})."
        ) from None
    return network


def save_weights(network: nn.Module, folder: Path) -> None:
    """Write model.safetensors in timm's Hub layout atomically.

    Matrices are stored in 16 bits; vectors (batch norm, biases), and matrices with values beyond
    the range of 16 bits, in 32.
    """
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(_stored(network.state_dict()), temporary, metadata={"format": "pt"})


def save_config(network: nn.Module, config: ModelConfig, folder: Path) -> None:
    """Write config.json in timm's Hub layout atomically."""
    with atomic_path(folder / CONFIG_FILE) as temporary:
        save_config_for_hf(network, str(temporary), model_config=config.to_timm())
        content: dict[str, Any] = json.loads(temporary.read_text(encoding="utf-8"))
        # transformers passes these two itself and fails if model_args has them as well.
        for key in ("num_classes", "in_chans"):
            content.get("model_args", {}).pop(key, None)
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _stored(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: _halve(tensor).cpu().contiguous() for name, tensor in tensors.items()}


def _halve(tensor: torch.Tensor) -> torch.Tensor:
    """Return matrices in 16 bits, unless a value is too large for them."""
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    half = tensor.half()
    return half if half.isfinite().all() else tensor.float()
