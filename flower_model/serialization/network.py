"""The timm network in a weights folder: read with every check, and written."""

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
from flower_model.errors import ModelError
from flower_model.serialization.timm_config import model_args, pretrained_cfg
from flower_model.system.files import atomic_path

FLOATS, INTEGERS = ("F16", "BF16", "F32", "F64"), ("I64", "I32")  # of stored tensors

logging.getLogger("timm").setLevel(logging.WARNING)  # "Loading pretrained weights…" is no news


def load_network(folder: Path, config: ModelConfig) -> nn.Module:
    """Builds the network of a weights folder and fills it with its weights.

    Args:
        folder: With config.json and model.safetensors.
        config: What its config.json says.

    Raises:
        ModelError: If a file is missing or damaged, timm does not know the architecture, or the
            tensors are not exactly those that it has with so many labels.
    """
    weights = folder / WEIGHTS_FILE
    if not timm.is_model(config.architecture):
        raise ModelError(
            f"'{folder}' asks for the architecture '{config.architecture}', "
            f"which timm {timm.__version__} does not have."
        )
    found = _read_header(weights, folder)
    with torch.device("meta"):  # takes no memory, however large
        expected = _create(folder, config).state_dict()
    for name, tensor in expected.items():
        shape, kind = found.pop(name, (None, ""))
        if shape != list(tensor.shape):
            raise ModelError(
                f"'{weights}' does not fit its config.json, which asks for {config.architecture} "
                f"with {len(config.labels)} labels: '{name}' should be {list(tensor.shape)} and is "
                f"{shape or 'nothing'}."
            )
        if kind not in (FLOATS if tensor.is_floating_point() else INTEGERS):
            raise ModelError(f"'{weights}' holds '{name}' as {kind}: fetch the model again.")
    if found:
        name = repr(min(found))[:100]
        raise ModelError(f"'{weights}' holds {name}, unknown to {config.architecture}.")

    tensors = load_file(weights)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"'{weights}' holds '{name}' with NaN or infinite values.")
    network = _create(folder, config)
    network.load_state_dict(tensors)
    return network


def _read_header(weights: Path, folder: Path) -> dict[str, tuple[list[int], str]]:
    """Name -> shape and type of each tensor; the library checks that the file is as long as they are."""
    try:
        with safe_open(weights, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # is no dict
            return {name: (part.get_shape(), part.get_dtype()) for name, part in slices.items()}
    except FileNotFoundError:
        raise ModelError(f"'{folder}' holds no {WEIGHTS_FILE}: fetch the model again.") from None
    except (SafetensorError, OSError):
        raise ModelError(f"'{weights}' is damaged or cut short: fetch the model again.") from None


def _create(folder: Path, config: ModelConfig) -> nn.Module:
    """The network with random weights; timm is given nothing of a config.json that was not checked."""
    content = read_content(folder / CONFIG_FILE)
    arguments = {"pretrained_cfg": pretrained_cfg(content), **model_args(content)}
    try:
        return timm.create_model(
            config.architecture, pretrained=False, num_classes=len(config.labels), **arguments
        )
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ModelError(f"timm can't build the model of '{folder}' ({reason}).") from None


def save_network(network: nn.Module, config: ModelConfig, folder: Path) -> None:
    """Writes model.safetensors and config.json in timm's Hub layout, each in one step.

    Matrices are stored in 16 bits; vectors (batch norm, biases), and matrices with values beyond
    the range of 16 bits, in 32.
    """
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(_stored(network.state_dict()), temporary, metadata={"format": "pt"})
    with atomic_path(folder / CONFIG_FILE) as temporary:
        save_config_for_hf(network, str(temporary), model_config=config.to_timm())
        content: dict[str, Any] = json.loads(temporary.read_text(encoding="utf-8"))
        # transformers passes these two itself and fails when model_args holds them as well.
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
