"""The files of a Gradio Space that serves a model of the Hub."""

import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def space_files(model: str, space: str) -> dict[str, Path | bytes]:
    """Return the files of a Space: name -> local file or content.

    Args:
        model: "user/repo"; app.py reads it from the Space's README.md.
        space: "user/demo".
    """
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
