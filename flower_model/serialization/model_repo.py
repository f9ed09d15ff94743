"""A weights folder as a model repository on the Hub: downloaded and published."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo

from flower_model.config import CONFIG_FILE, WEIGHTS_FILE, read_config
from flower_model.hub.download import download, download_existing, remember
from flower_model.hub.source import HubSource
from flower_model.hub.upload import read_published, upload
from flower_model.quantization import QUANTIZATION_FILE
from flower_model.rejection import REJECTION_FILE
from flower_model.serialization.model_card import is_generated, render_model_card
from flower_model.serialization.references import REFERENCES_FILE
from flower_model.serialization.weights_folder import CARD_FILE, FOLDER_FILES, owns_card


def download_model(source: HubSource) -> Path:
    """Download the weights folder in a Hub repository and return its path in the cache.

    Raises:
        ModelError: If the repository's config.json is invalid.
        HubError: If the repository or a file does not exist or can't be downloaded.
    """
    folder = download(source, (CONFIG_FILE, WEIGHTS_FILE))
    details = read_config(folder / CONFIG_FILE).details
    fitted = {"rejection": REJECTION_FILE, "quantization": QUANTIZATION_FILE}
    commit = replace(source, revision=folder.name)
    if files := [file for key, file in fitted.items() if key in details]:
        download(commit, files)
    remember(source, folder)
    download_existing(commit, (REFERENCES_FILE,))
    return folder


def publish_folder(
    folder: Path,
    repo_id: str,
    *,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a flower classifier",
    **options: Any,
) -> CommitInfo:
    """Upload a weights folder in one commit, which also removes files of a previous model.

    The code examples of a generated model card refer to the repository; an edited card is uploaded
    unchanged. A card that was edited on the Hub is replaced only by an edited one.

    Args:
        folder: The weights folder.
        repo_id: "user/repo"; created if it does not exist.
        token: Hub token; None for the one saved by `hf auth login`.
        revision: Branch to commit to, created from the main branch if it does not exist.
        commit_message: Title of the commit.
        options: `private` and `create_pr`, as for `upload`.

    Raises:
        ModelError: If the folder's config.json is missing or invalid.
        HubError: If the Hub refuses or can't be reached; nothing is published then.
    """
    config = read_config(folder / CONFIG_FILE)
    files: dict[str, Path | bytes] = {
        name: folder / name for name in FOLDER_FILES if (folder / name).exists()
    }
    source, replaced = HubSource(repo_id, revision, token), set(FOLDER_FILES)
    if owns_card(folder):
        files[CARD_FILE] = render_model_card(config, repo_id, files.keys()).encode()
        published = read_published(source, CARD_FILE)
        if published is not None and not is_generated(published.decode(errors="replace")):
            del files[CARD_FILE]
            replaced.remove(CARD_FILE)
    return upload(
        source,
        files,
        commit_message=commit_message,
        replace_patterns=replaced,
        **options,
    )
