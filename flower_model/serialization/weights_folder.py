"""The files of a weights folder: checked before they are loaded, and written atomically."""

import hashlib
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.config import CONFIG_FILE, PICTURES, WEIGHTS_FILE, ModelConfig
from flower_model.errors import ModelError, shorten
from flower_model.quantization import QUANTIZATION_FILE
from flower_model.rejection import REJECTION_FILE, Rejection, save_rejection
from flower_model.serialization.references import REFERENCES_FILE
from flower_model.system.files import atomic_path, file_digest, read_at_most
from flower_model.system.tensors import read_tensors

if TYPE_CHECKING:  # torch is slow to import
    from torch import nn

CARD_FILE = "README.md"
# Optional files that fit only the weights whose SHA-256 is in their metadata.
COMPANIONS = (QUANTIZATION_FILE, REFERENCES_FILE)
MAX_COMPANION = 32_000_000  # bytes
FITTED_FILES = {REJECTION_FILE, *COMPANIONS}
FOLDER_FILES = (CONFIG_FILE, WEIGHTS_FILE, *sorted(FITTED_FILES), CARD_FILE, *PICTURES)
LFS_HEADER = b"version https://git-lfs.github.com/spec/"


def local_folder(model: str | Path) -> Path | None:
    """Return the folder that `model` names, or None if it can only be a Hub repository.

    Raises:
        ModelError: If `model` is a file, or the path of a folder that doesn't exist.
    """
    name = str(model)
    path = Path(name.removeprefix("local-dir:"))  # timm's prefix
    try:
        if path.is_dir():
            return path
        if path.is_file():
            raise ModelError(
                f"'{shorten(path, 120)}' is a file. Give the folder that contains it: "
                f"'{shorten(path.parent, 100)}'."
            )
    except OSError:  # the name is too long
        pass
    is_path = isinstance(model, Path) or name.startswith(("local-dir:", ".", "~", "/", "\\"))
    if is_path or ("://" not in name and name.count("/") > 1):
        raise ModelError(f"There is no model folder '{shorten(path, 120)}'. Check the path.")
    return None


def check_files(folder: Path) -> None:
    """Check that the files of a weights folder exist and aren't Git LFS pointers.

    Raises:
        ModelError: If they are not; the message says how to get them.
    """
    try:
        paths = [path for path in folder.iterdir() if path.is_file()]
        heads = {p: read_at_most(p, len(LFS_HEADER)) for p in paths if p.name in FOLDER_FILES}
    except OSError:  # reported where the files are read
        return
    for path, head in heads.items():
        if head.startswith(LFS_HEADER):
            raise ModelError(
                f"'{shorten(path, 120)}' is a Git LFS pointer, not the file itself. Run "
                "`git lfs pull` in that repository."
            )
    names = {path.name for path in paths} - FITTED_FILES
    if CONFIG_FILE in names and WEIGHTS_FILE not in names:
        from flower_model.hub.errors import explain_missing_weights  # slow to import

        raise ModelError(f"'{shorten(folder, 120)}' {explain_missing_weights(WEIGHTS_FILE, names)}")


def answer_files(folder: Path) -> list[Path]:
    """Return the files of a weights folder that answers depend on."""
    names = (CONFIG_FILE, WEIGHTS_FILE, REJECTION_FILE, QUANTIZATION_FILE)
    return [folder / name for name in names if (folder / name).exists()]


def model_version(folder: Path | None, config: ModelConfig) -> str:
    """Return the architecture and a hash of a model's files, of which one built in memory has none."""
    digest = hashlib.sha256()
    for file in answer_files(folder) if folder else ():
        digest.update(bytes.fromhex(file_digest(file)))
    return f"{config.architecture}-{digest.hexdigest()[:12]}"


def save_weights_folder(
    folder: Path,
    network: "nn.Module",
    config: ModelConfig,
    *,
    rejection: Rejection | None,
    pictures: Mapping[str, bytes],
    loaded_from: Path | None,
) -> None:
    """Write a weights folder so that an interruption never mixes two models.

    config.json, without which it is no model, is written last; that of other weights is deleted just before
    they are replaced. A model that is saved again can be loaded at any moment.

    Companions in the folder that the model was loaded from are copied if the weights are the same.
    """
    from flower_model.serialization.network import save_config, save_weights

    save_weights(network, folder)
    if rejection is not None:
        save_rejection(rejection, folder)
    copied = _copy_companions(loaded_from, folder)
    if QUANTIZATION_FILE not in copied:
        details = {k: v for k, v in config.details.items() if k != "quantization"}
        config = replace(config, details=details)
    save_config(network, config, folder)
    # The folder may have held another model: remove its files that this model doesn't have.
    if rejection is None:
        (folder / REJECTION_FILE).unlink(missing_ok=True)
    for name in PICTURES.keys() - pictures.keys():
        (folder / name).unlink(missing_ok=True)
    for name, picture in pictures.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(picture)
    write_card(folder, config, pictures)


def _copy_companions(source: Path | None, folder: Path) -> set[str]:
    """Copy the companions in `source` that fit the weights in `folder`, and delete others there.

    Returns:
        The names of the copied files.
    """
    digest, copied = file_digest(folder / WEIGHTS_FILE), set()
    for name in COMPANIONS:
        if source and _made_for(source / name) == digest:
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)
            copied.add(name)
        else:
            (folder / name).unlink(missing_ok=True)
    return copied


def _made_for(path: Path) -> str | None:
    """Return the SHA-256 of the weights that a companion fits; None if it can't be read."""
    with suppress(OSError, ModelError):
        return read_tensors(path, MAX_COMPANION)[1]
    return None


def write_card(folder: Path, config: ModelConfig, pictures: Collection[str]) -> None:
    """Write a weights folder's README.md, unless there is one that somebody wrote or edited."""
    from flower_model.serialization.model_card import render_model_card

    if owns_card(folder):
        with atomic_path(folder / CARD_FILE) as temporary:
            temporary.write_bytes(render_model_card(config, pictures=pictures).encode())


def owns_card(folder: Path) -> bool:
    """Return True if a weights folder has no README.md or an unedited one by `write_card`."""
    from flower_model.serialization.model_card import is_generated

    try:
        return is_generated((folder / CARD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, UnicodeError):
        return False
