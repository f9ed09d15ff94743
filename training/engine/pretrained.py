"""The network that a run starts from, with pretrained weights from a folder or the Hub."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from torch import nn

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, read_architecture, read_content
from flower_model.errors import FlowerModelError, HubError, ModelError, RecipeError, shorten
from flower_model.hub.download import download, remember
from flower_model.hub.source import HubSource
from flower_model.serialization.timm_config import model_args, pretrained_cfg
from training.recipe import Model


def create_network(model: Model, num_classes: int) -> nn.Module:
    """Create a timm network with pretrained weights and a new head.

    Args:
        model: The architecture, the source of the weights, and the input size of the finished model.
        num_classes: Number of outputs.

    Raises:
        RecipeError: If timm has no such architecture or the weights belong to another one.
        ModelError: If the weights folder is damaged.
        HubError: If the weights can't be downloaded.
    """
    weights = find_weights(model)
    network: Any  # timm stores its configuration in attributes of the network
    if weights is None:
        network = timm.create_model(model.architecture, num_classes=num_classes)
    else:
        network = _load(model, weights, num_classes)
    # timm, transformers and this package read the preprocessing from here.
    network.pretrained_cfg = {
        **network.pretrained_cfg,
        "input_size": (3, model.test_size, model.test_size),
        "crop_pct": model.crop,
        "test_input_size": None,
        "test_crop_pct": None,
    }
    return network


def find_weights(model: Model) -> Path | None:
    """Return the folder of the pretrained weights, after downloading them if necessary; None for "".

    Raises:
        RecipeError: If timm has no such architecture or the weights belong to another one.
        ModelError: If the folder has no weights or no config.json.
        HubError: If the weights can't be downloaded.
    """
    if not timm.is_model(model.architecture):
        similar = ", ".join(get_close_matches(model.architecture, timm.list_models(), 3))
        raise RecipeError(
            f"timm {timm.__version__} has no architecture '{shorten(model.architecture)}'. "
            + (f"Similar names: {similar}." if similar else "See timm.list_models().")
        )
    if not model.pretrained:
        return None
    folder = Path(model.pretrained)
    if not folder.is_dir():
        folder = _download(model)
    _check_architecture(read_architecture(folder / CONFIG_FILE), model)
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(
            f"'{shorten(folder, 120)}' contains no {WEIGHTS_FILE}. "
            "Pickled weights are not loaded: convert them to safetensors."
        )
    return folder


def _load(model: Model, folder: Path, num_classes: int) -> nn.Module:
    """Load weights with timm, always from this folder, even if its config.json names another source."""
    content = read_content(folder / CONFIG_FILE)
    source = pretrained_cfg(content)
    classes = content.get("num_classes", (content.get("pretrained_cfg") or {}).get("num_classes"))
    if isinstance(classes, int):
        source["num_classes"] = classes
    try:
        return timm.create_model(
            model.architecture,
            pretrained=True,
            pretrained_cfg={**source, "file": str(folder / WEIGHTS_FILE)},
            num_classes=num_classes,
            **model_args(content),
        )
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = shorten(str(error).strip() or type(error).__name__, 120)
        raise ModelError(
            f"The weights in '{shorten(folder, 120)}' can't be loaded ({reason})."
        ) from None


def _download(model: Model) -> Path:
    source = model.pretrained
    if "/" not in source:  # a timm tag; timm hosts its weights on the Hub
        _check_architecture(source.partition(".")[0], model)
        known = timm.get_pretrained_cfg(source)
        source = known.hf_hub_id if known and known.hf_hub_id else f"timm/{source}"
    try:
        repo = HubSource.parse(source)
        folder = download(repo, (CONFIG_FILE, WEIGHTS_FILE))
        remember(repo, folder)
        return folder
    except FlowerModelError as error:
        raise HubError(
            f"The pretrained weights '{shorten(model.pretrained)}' are not a folder and can't be "
            f"downloaded from the Hub ({shorten(error, 120).rstrip('.')}). "
            "Name a folder with --pretrained or check the internet connection."
        ) from None


def _check_architecture(found: str, model: Model) -> None:
    if found != model.architecture:
        raise RecipeError(
            f"The pretrained weights '{shorten(model.pretrained, 100)}' belong to {shorten(found)}, "
            f"but the recipe's architecture is {shorten(model.architecture)}."
        )
