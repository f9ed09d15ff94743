"""The files of a weights folder: checked before they are loaded, and written atomically."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from flower_model.config import CONFIG_FILE, PICTURES, WEIGHTS_FILE, ModelConfig
from flower_model.errors import ModelError, shorten
from flower_model.quantization import QUANTIZATION_FILE
from flower_model.rejection import REJECTION_FILE, Rejection, save_rejection
from flower_model.serialization.digest import file_digest
from flower_model.serialization.references import REFERENCES_FILE, WEIGHTS_SHA256
from flower_model.system.files import atomic_path, read_at_most

if TYPE_CHECKING:  # torch is slow to import
    from torch import nn

CARD_FILE = "README.md"
# Optional files that fit only the weights whose SHA-256 is in their metadata as `WEIGHTS_SHA256`.
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
    """Check that the files of a weights folder are there and are no Git LFS pointers.

    Raises:
        ModelError: If they are not; the message says how to get them.
    """
    try:
        paths = [path for path in folder.iterdir() if path.is_file()]
        pointers = [path for path in paths if path.name in FOLDER_FILES and _is_lfs_pointer(path)]
    except OSError:  # reported where the files are read
        return
    if pointers:
        raise ModelError(
            f"'{shorten(pointers[0], 120)}' is a Git LFS pointer, not the file itself. Run "
            "`git lfs pull` in that repository."
        )
    names = {path.name for path in paths} - FITTED_FILES
    if CONFIG_FILE in names and WEIGHTS_FILE not in names:
        from flower_model.hub.errors import explain_missing_weights  # slow to import

        raise ModelError(f"'{shorten(folder, 120)}' {explain_missing_weights(WEIGHTS_FILE, names)}")


def _is_lfs_pointer(path: Path) -> bool:
    return read_at_most(path, len(LFS_HEADER)).startswith(LFS_HEADER)


def save_weights_folder(
    folder: Path,
    network: "nn.Module",
    config: ModelConfig,
    *,
    rejection: Rejection | None,
    pictures: Mapping[str, bytes],
    loaded_from: Path | None = None,
) -> None:
    """Write a weights folder that can be loaded at any moment, even if the process is interrupted.

    Args:
        folder: The folder, created if missing.
        network: A timm network.
        config: Labels, temperature and details.
        rejection: The flower/non-flower rule, if any.
        pictures: Plots of the model card: file name -> PNG.
        loaded_from: Weights folder whose companions are copied if the weights are the same.
    """
    from flower_model.serialization.network import save_config, save_weights

    if rejection is not None:  # before the config.json that refers to it
        save_rejection(rejection, folder)
    save_weights(network, folder)
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
        content = _read_companion(source / name, digest) if source else None
        if content is None:
            (folder / name).unlink(missing_ok=True)
            continue
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
        copied.add(name)
    return copied


def _read_companion(path: Path, weights_sha256: str) -> bytes | None:
    """Return the content of a companion file, or None if there is none for these weights."""
    with suppress(OSError, SafetensorError):
        with safe_open(path, framework="numpy") as file:
            fits = (file.metadata() or {}).get(WEIGHTS_SHA256) == weights_sha256
        content = read_at_most(path, MAX_COMPANION)
        return content if fits and len(content) <= MAX_COMPANION else None
    return None


def write_card(folder: Path, config: ModelConfig, pictures: Collection[str]) -> None:
    """Write a weights folder's README.md, unless there is one that somebody wrote or edited.

    Args:
        folder: The weights folder.
        config: Configuration of the model.
        pictures: File names of the plots in the folder.
    """
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
