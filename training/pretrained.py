"""The network that a run starts from."""

from pathlib import Path
from typing import Any

import timm
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from torch import nn

from flower_model.config import read_architecture
from flower_model.errors import HubError, ModelError, RecipeError
from training.recipe import Model


def create_network(model: Model, num_classes: int) -> nn.Module:
    """A timm network with `num_classes` outputs on pretrained weights, its head fresh.

    Args:
        model: Architecture, where the weights come from, and the size it will look at.
        num_classes: Number of outputs.

    Raises:
        RecipeError: If timm has no such architecture or the weights belong to another.
        ModelError: If the weights' folder is damaged.
        HubError: If the weights can't be fetched.
    """
    if not timm.is_model(model.architecture):
        raise RecipeError(f"timm {timm.__version__} has no architecture '{model.architecture}'.")
    name = model.architecture
    network: Any  # timm hangs its configuration on the network as plain attributes
    if not model.pretrained:
        network = timm.create_model(name, num_classes=num_classes)
    elif Path(model.pretrained).is_dir():
        network = _from_folder(model, num_classes)
    else:
        network = _from_hub(model, num_classes)
    # timm, transformers and ourselves read from here how a photo becomes the network's input.
    network.pretrained_cfg = {
        **network.pretrained_cfg,
        "input_size": (3, model.test_size, model.test_size),
        "crop_pct": model.crop,
        "test_input_size": None,
        "test_crop_pct": None,
    }
    return network


def _from_folder(model: Model, num_classes: int) -> nn.Module:
    folder = Path(model.pretrained)
    _check_architecture(read_architecture(folder / "config.json"), model)
    try:
        return timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=num_classes)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"The weights in '{folder}' can't be loaded ({_first(error)}).") from None


def _from_hub(model: Model, num_classes: int) -> nn.Module:
    source = model.pretrained
    try:
        if "/" in source:
            network: Any = timm.create_model(
                f"hf-hub:{source}", pretrained=True, num_classes=num_classes
            )
            _check_architecture(network.pretrained_cfg["architecture"], model)
            return network
        _check_architecture(source.partition(".")[0], model)
        return timm.create_model(source, pretrained=True, num_classes=num_classes)
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError, ValueError) as error:
        raise HubError(
            f"The pretrained weights '{source}' are no folder and can't be fetched from the Hub "
            f"({_first(error)}): name a folder with --pretrained or check the network."
        ) from None


def _check_architecture(found: str, model: Model) -> None:
    if found != model.architecture:
        raise RecipeError(
            f"The pretrained weights '{model.pretrained}' are of a {found}, "
            f"but the recipe's architecture is {model.architecture}."
        )


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
