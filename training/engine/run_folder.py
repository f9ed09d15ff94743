"""The folder of a run: created, resumed or overwritten, and locked by one process at a time."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from flower_model.errors import RecipeError, WriteError, shorten
from flower_model.system.files import atomic_path, make_folder, remove_leftovers
from training.recipe import Recipe

RECIPE_FILE = "recipe.json"  # the settings of the run
PHOTOS_FILE = "photos.json"  # fingerprints of its photos


def check_run(run: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> None:
    """Check that starting or resuming a run in this folder destroys nothing by accident.

    Raises:
        RecipeError: If the contents of the folder don't fit the two options.
    """
    recipe_file, name = run / RECIPE_FILE, shorten(run, 120)
    if resume:
        if not recipe_file.exists():
            raise RecipeError(f"There is no run to resume in '{name}'. Omit --resume.")
        if recipe_file.read_text(encoding="utf-8") != recipe.model_dump_json(indent=2):
            raise RecipeError(
                f"The run in '{name}' has other settings (see {RECIPE_FILE}). "
                "Resume it with its original command, or choose --overwrite."
            )
    elif recipe_file.exists() and not overwrite:
        raise RecipeError(
            f"'{name}' already contains a run. Continue it with --resume, replace it with "
            "--overwrite, or choose another folder with --out."
        )
    elif not (parent := next(p for p in run.absolute().parents if p.exists())).is_dir():
        raise RecipeError(f"'{shorten(parent, 120)}' is a file, not a folder: check --out.")
    elif not os.access(run if run.is_dir() else parent, os.W_OK):
        raise RecipeError(f"'{name}' can't be written to: check --out.")
    elif run.is_file() or (_visible_files(run) and not recipe_file.exists()):
        raise RecipeError(f"'{name}' contains other files. Choose an empty folder with --out.")


def open_run(run: Path, recipe: Recipe, *, resume: bool) -> FileLock:
    """Create or empty a run's folder and lock it; resuming only deletes partial files.

    Returns:
        The lock, which is held until it is released or the process ends for any reason.

    Raises:
        RecipeError: If another process is training in the folder.
        WriteError: If the folder can't be written to.
    """
    lock = FileLock(run / ".lock")
    try:
        make_folder(run)
        with suppress(NotImplementedError):  # a file system without locks
            lock.acquire(timeout=0)
        remove_leftovers(run)
        if not resume:
            _empty(run)
    except Timeout:
        raise RecipeError(
            f"Another training run is writing to '{shorten(run, 120)}'. Wait until it ends."
        ) from None
    except OSError as error:
        raise WriteError(f"'{shorten(run, 120)}' can't be written to ({error.strerror}).") from None
    if not resume:
        with atomic_path(run / RECIPE_FILE) as temporary:
            temporary.write_text(recipe.model_dump_json(indent=2), encoding="utf-8")
    return lock


def record_photos(run: Path, fingerprints: Mapping[str, str], *, resume: bool) -> None:
    """Write the fingerprints of a run's photos, or check them when it is resumed.

    Raises:
        RecipeError: If the photos have changed: training photos may be held out now.
    """
    path, found = run / PHOTOS_FILE, json.dumps(fingerprints, indent=2)
    if not resume:
        with atomic_path(path) as temporary:
            temporary.write_text(found, encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != found:
        raise RecipeError(
            f"The photos have changed since the run in '{shorten(run, 120)}' was started. "
            "Restore them, or choose --overwrite."
        )


def _empty(run: Path) -> None:
    """Move an earlier run's files into a hidden folder, each one atomically, then delete them.

    The recipe file stays until the new one replaces it: it marks the folder as a run.
    """
    away = Path(tempfile.mkdtemp(prefix=".old.", suffix=".tmp", dir=run))
    # The checkpoint first: without it, an interrupted deletion can't be mistaken for a run to resume.
    for path in sorted(_visible_files(run), key=lambda path: path.name != "last.safetensors"):
        if path.name != RECIPE_FILE:
            os.rename(path, away / path.name)
    shutil.rmtree(away)


def _visible_files(run: Path) -> list[Path]:
    return [path for path in run.iterdir() if path.name[0] != "."] if run.is_dir() else []
