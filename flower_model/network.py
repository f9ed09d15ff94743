"""The timm network in a weights folder: read with every check, and written."""

import json
import logging
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models._hub import save_config_for_hf
from torch import nn

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, ModelConfig
from flower_model.errors import ModelError
from flower_model.files import atomic_path

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
    try:
        tensors = load_file(weights)
    except FileNotFoundError:
        raise ModelError(f"'{folder}' holds no {WEIGHTS_FILE}: fetch the model again.") from None
    except (SafetensorError, OSError):
        raise ModelError(f"'{weights}' is damaged or cut short: fetch the model again.") from None
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=False)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"timm can't build the model of '{folder}' ({error}).") from None

    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            found = list(tensors[name].shape) if name in tensors else "nothing"
            raise ModelError(
                f"'{weights}' does not fit its config.json, which asks for {config.architecture} with "
                f"{len(config.labels)} labels: '{name}' should be {list(tensor.shape)} and is {found}."
            )
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise ModelError(f"'{weights}' holds '{unknown[0]}', unknown to {config.architecture}.")
    network.load_state_dict(tensors)
    return network


def save_network(network: nn.Module, config: ModelConfig, folder: Path) -> None:
    """Writes model.safetensors and config.json in timm's Hub layout, each in one step.

    Matrices are stored in 16 bits, vectors (batch norm, biases) in 32.
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
    return {
        name: (tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor)
        .cpu()
        .contiguous()
        for name, tensor in tensors.items()
    }
