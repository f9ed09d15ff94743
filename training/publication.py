"""A weights folder as a model repository of the Hub, and a Space that serves it."""

import sys
from importlib.metadata import version
from pathlib import Path

from flower_model.errors import ModelError

ROOT = Path(__file__).resolve().parents[1]


def publish_model(
    folder: Path,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str = "Upload a flower classifier",
) -> str:
    """Makes one commit of a weights folder as it is, after checking that it loads.

    A README.md that save_pretrained wrote is written anew with the repository's name in its
    examples; one that was edited is left as it is.

    Args:
        folder: The weights folder.
        repo_id: "user/repo"; created if there is none.
        token: Hub token; None is the one saved by `hf auth login`.
        private: Whether a repository that is created is private.
        revision: Branch to commit to.
        create_pr: Open a pull request instead.
        commit_message: Of the commit.

    Returns:
        The address of the commit, or of the pull request.

    Raises:
        ModelError: If the folder is missing, damaged or does not fit together.
        HubError: If the Hub refuses or can't be reached; then nothing is published.
    """
    from flower_model.classifier import FlowerClassifier
    from flower_model.hub.upload import upload
    from flower_model.serialization.model_card import model_card
    from flower_model.serialization.weights_folder import CARD_FILE, FOLDER_FILES, is_card_edited

    if not folder.is_dir():
        raise ModelError(f"There is no model folder '{folder}': check the path.")
    model = FlowerClassifier.from_pretrained(folder)
    files: dict[str, Path | bytes] = {
        name: folder / name for name in FOLDER_FILES if (folder / name).exists()
    }
    if not is_card_edited(folder):
        named = model_card(model.config, repo_id, pictures=model.pictures)
        files[CARD_FILE] = named.encode()
    commit = upload(
        repo_id,
        files,
        message=commit_message,
        token=token,
        private=private,
        revision=revision,
        create_pr=create_pr,
        replaces=FOLDER_FILES,
    )
    return commit.pr_url or commit.commit_url


def publish_space(
    model: str, space: str, *, token: str | None = None, private: bool | None = None
) -> str:
    """Creates or updates a Gradio Space that serves a model of the Hub: its permanent public page.

    Args:
        model: "user/repo", named in the Space's README.md, from where app.py takes it.
        space: "user/demo"; created if there is none. What it holds of an earlier version goes.
        token: Hub token; None is the one saved by `hf auth login`.
        private: Whether a Space that is created is private.

    Returns:
        The address of the commit.

    Raises:
        HubError: If the Hub refuses or can't be reached; then nothing is published.
    """
    from flower_model.hub.upload import upload

    commit = upload(
        space,
        space_files(model, space),
        message=f"Serve {model}",
        token=token,
        private=private,
        repo_type="space",
        replaces=["flower_model/*"],
    )
    return commit.commit_url


def space_files(model: str, space: str) -> dict[str, Path | bytes]:
    """What a Space holds: name in it -> local file or content."""
    package = sorted((ROOT / "flower_model").rglob("*"))
    files: dict[str, Path | bytes] = {
        path.relative_to(ROOT).as_posix(): path
        for path in (ROOT / "app.py", *package)
        if path.is_file() and "__pycache__" not in path.parts
    }
    return files | {
        "requirements.txt": ROOT / "requirements.txt",
        "README.md": _readme(model, space),
    }


def _readme(model: str, space: str) -> bytes:
    from huggingface_hub import SpaceCard, SpaceCardData

    data = SpaceCardData(
        title=space.rpartition("/")[2],
        emoji="🌷",
        colorFrom="pink",
        colorTo="green",
        sdk="gradio",
        sdk_version=version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        models=[model],
        short_description="Names the flower in a photo",
    )
    text = f"Names the flower in a photo, with [{model}](https://huggingface.co/{model})."
    return str(SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")).encode()
