"""The files of a weights folder: fetched from the Hub, or written."""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.config import (
    CONFIG_FILE,
    PICTURES,
    WEIGHTS_FILE,
    ModelConfig,
    read_config,
    read_pictures,
)
from flower_model.errors import ModelError
from flower_model.rejection import REJECTION_FILE, Rejection, save_rejection
from flower_model.system.files import atomic_path

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

CARD_FILE = "README.md"
# All that a weights folder holds.
FOLDER_FILES = (CONFIG_FILE, WEIGHTS_FILE, REJECTION_FILE, CARD_FILE, *PICTURES)


def find_folder(
    model: str | Path,
    *,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | Path | None,
    offline: bool,
) -> Path:
    """The folder that a model lies in; of a Hub repository, that of the cache, fetched if need be.

    Args:
        model: A weights folder, or "user/repo".
        revision, token, cache_dir, offline: As for `flower_model.hub.download.download`.

    Raises: As `flower_model.hub.download.download`.
    """
    if Path(model).is_dir():
        return Path(model)
    from flower_model.hub.download import download

    fetch = partial(download, str(model), token=token, cache_dir=cache_dir, offline=offline)
    folder = fetch((CONFIG_FILE, WEIGHTS_FILE), revision=revision)
    if "rejection" in read_config(folder / CONFIG_FILE).details:
        fetch((CONFIG_FILE, REJECTION_FILE), revision=folder.name)  # of the same commit
    return folder


def write_folder(
    folder: Path,
    network: "nn.Module",
    config: ModelConfig,
    *,
    rejection: Rejection | None,
    pictures: Mapping[str, bytes],
    repo_id: str,
) -> None:
    """Writes a weights folder; whenever it is cut off, what is there loads.

    A card that somebody edited stays; one of another model that lay here does not.

    Args:
        folder: The folder; made if missing.
        network: A timm network.
        config: Labels, temperature and what else is known of it.
        rejection: The rule that says whether there is a flower at all, if there is one.
        pictures: Of the model card: file name -> PNG.
        repo_id: What the card's examples load, if the folder is on its way to the Hub.
    """
    from flower_model.serialization.network import save_network

    card_stays = is_card_edited(folder)
    if rejection is not None:  # before the config.json that asks for it
        save_rejection(rejection, folder)
    save_network(network, config, folder)
    if rejection is None:  # of another model that lay here, as are pictures that this one has not
        (folder / REJECTION_FILE).unlink(missing_ok=True)
    for name in PICTURES.keys() - pictures.keys():
        (folder / name).unlink(missing_ok=True)
    for name, picture in pictures.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(picture)
    if not card_stays:
        write_card(folder, config, pictures, repo_id=repo_id)


def is_card_edited(folder: Path) -> bool:
    """Whether a folder's README.md is not what `write_card` wrote for the model in it."""
    from flower_model.serialization.model_card import model_card

    card = folder / CARD_FILE
    if not card.exists():
        return False
    try:
        config = read_config(folder / CONFIG_FILE)
        return card.read_bytes() != model_card(config, pictures=read_pictures(folder)).encode()
    except (ModelError, OSError):  # no model's card, or none that can be read
        return True


def write_card(
    folder: Path, config: ModelConfig, pictures: Collection[str], *, repo_id: str = ""
) -> None:
    """Writes a weights folder's README.md in one step; arguments as for `write_folder`."""
    from flower_model.serialization.model_card import model_card

    with atomic_path(folder / CARD_FILE) as temporary:
        temporary.write_bytes(model_card(config, repo_id, pictures).encode())
