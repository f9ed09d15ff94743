"""Finding and loading the parts of a classifier."""

from functools import partial
from pathlib import Path
from typing import Any

from flower_model.config import CONFIG_FILE, read_config, read_pictures
from flower_model.errors import ConversionError
from flower_model.rejection import load_rejection
from flower_model.runtimes.base import Compute
from flower_model.serialization.digest import folder_digest, load_unchanged_network
from flower_model.serialization.weights_folder import check_files, local_folder


def find_folder(model: str | Path, **access: Any) -> Path:
    """Return the weights folder of a model, downloaded unless `model` is a folder.

    Args:
        model: A folder, or "user/repo" on the Hub, optionally with "@revision".
        access: Attributes of a `HubSource`: revision, token, cache_dir and offline.

    Raises:
        ModelError: If `model` is neither a folder nor the name of a repository.
        HubError: If the repository does not exist or can't be reached.
    """
    folder = local_folder(model)
    if folder is not None:
        return folder
    from flower_model.hub.source import HubSource
    from flower_model.serialization.model_repo import download_model

    return download_model(HubSource.parse(str(model), **access))


def load_parts(folder: Path, runtime: str, compute: Compute, *, required: bool) -> dict[str, Any]:
    """Load a weights folder with the runtime that `resolve_runtime` chose.

    Where OpenVINO can't run the model, PyTorch does, unless OpenVINO is `required`.

    Returns:
        The keyword arguments of `FlowerClassifier`.

    Raises:
        FlowerModelError: If the runtime or precision is not available.
        ModelError: If the folder is missing, damaged or inconsistent.
    """
    check_files(folder)
    config = read_config(folder / CONFIG_FILE)
    parts: dict[str, Any] = {
        "config": config,
        "rejection": load_rejection(folder) if "rejection" in config.details else None,
        "pictures": read_pictures(folder),
        "folder": folder,
    }
    if runtime == "openvino":
        from flower_model.runtimes.openvino_loading import load_openvino

        digest = folder_digest(folder)
        try:
            loaded = load_openvino(folder, config, digest, compute.precision)
        except ConversionError:
            if required:
                raise
        else:
            load_network_later = partial(load_unchanged_network, folder, config, digest)
            return parts | {"network": load_network_later, "runtime": loaded}
    from flower_model.runtimes.pytorch import TorchRuntime
    from flower_model.serialization.network import load_network

    network = load_network(folder, config)
    return parts | {"network": network, "runtime": TorchRuntime(network, compute)}
