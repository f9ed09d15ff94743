"""A Gradio Space that serves a model of the Hub."""

import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def publish_space(model: str, space: str, *, private: bool | None = None) -> str:
    """Create or update a Gradio Space that serves a model of the Hub, and return the URL of the commit.

    Args:
        model: "user/repo"; app.py reads it from the Space's README.md.
        space: "user/demo"; created if it does not exist.
        private: Visibility of a new Space; None for the owner's default.

    Raises:
        HubError: If the Hub refuses or can't be reached; nothing is published then.
    """
    from flower_model.hub.source import HubSource
    from flower_model.hub.upload import upload

    commit = upload(
        HubSource(space),
        space_files(model, space),
        commit_message=f"Serve {model}",
        private=private,
        repo_type="space",
        replace_patterns=["flower_model/*"],
    )
    return commit.commit_url


def space_files(model: str, space: str) -> dict[str, Path | bytes]:
    """Return the files of the Space: name -> local file or content."""
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
