"""Digests of weights folders, which detect files that change after a model was loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, ModelConfig
from flower_model.errors import ModelError, shorten
from flower_model.system.files import file_digest

if TYPE_CHECKING:
    from torch import nn


def folder_digest(folder: Path) -> str:
    """Return a hexadecimal SHA-256 digest of config.json and model.safetensors.

    It is empty if a file can't be read.
    """
    try:
        return "-".join(file_digest(folder / name) for name in (CONFIG_FILE, WEIGHTS_FILE))
    except OSError:
        return ""


def load_unchanged_network(folder: Path, config: ModelConfig, digest: str) -> "nn.Module":
    """Load the network of a weights folder whose `folder_digest` is still `digest`.

    Raises:
        ModelError: If the folder is damaged, or if its files have another digest.
    """
    from flower_model.serialization.network import load_network  # slow: imports torch

    network = load_network(folder, config)
    if folder_digest(folder) != digest:
        raise ModelError(
            f"The files in '{shorten(folder, 120)}' changed after the model was loaded. "
            "Load the model again."
        )
    return network
