"""The network that a run starts from."""

from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from torch import nn

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, read_architecture, read_content
from flower_model.errors import FlowerModelError, HubError, ModelError, RecipeError
from flower_model.hub.download import download
from flower_model.serialization.timm_config import model_args, pretrained_cfg
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
        network = _from_folder(model, Path(model.pretrained), num_classes)
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


def _from_folder(model: Model, folder: Path, num_classes: int) -> nn.Module:
    """timm adapts the weights to the task; where they come from is said here, never by a config.json."""
    content = read_content(folder / CONFIG_FILE)
    _check_architecture(read_architecture(folder / CONFIG_FILE), model)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise ModelError(f"'{folder}' holds no {WEIGHTS_FILE}, and a pickle is not opened.")
    source = pretrained_cfg(content)
    classes = content.get("num_classes", (content.get("pretrained_cfg") or {}).get("num_classes"))
    if isinstance(classes, int):
        source["num_classes"] = classes
    try:
        return timm.create_model(
            model.architecture,
            pretrained=True,
            pretrained_cfg={**source, "file": str(weights)},
            num_classes=num_classes,
            **model_args(content),
        )
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, LookupError) as error:
        raise ModelError(f"The weights in '{folder}' can't be loaded ({_first(error)}).") from None


def _from_hub(model: Model, num_classes: int) -> nn.Module:
    source = model.pretrained
    if "/" not in source:  # timm's own name of weights, which timm keeps on the Hub
        _check_architecture(source.partition(".")[0], model)
        known = timm.get_pretrained_cfg(source)
        source = known.hf_hub_id if known and known.hf_hub_id else f"timm/{source}"
    repo, _, revision = source.partition("@")
    try:
        folder = download(
            repo,
            (CONFIG_FILE, WEIGHTS_FILE),
            revision=revision or None,
            token=None,
            cache_dir=None,
            offline=False,
        )
    except FlowerModelError as error:
        raise HubError(
            f"The pretrained weights '{model.pretrained}' are no folder and can't be fetched from "
            f"the Hub ({str(error).rstrip('.')}): name a folder with --pretrained or check the network."
        ) from None
    return _from_folder(model, folder, num_classes)


def _check_architecture(found: str, model: Model) -> None:
    if found != model.architecture:
        raise RecipeError(
            f"The pretrained weights '{model.pretrained}' are of a {found}, "
            f"but the recipe's architecture is {model.architecture}."
        )


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
