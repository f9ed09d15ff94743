"""The folder of a run: begun, found again after a kill, and written by one training at a time."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from flower_model.errors import RecipeError, WriteError
from flower_model.system.files import atomic_path, make_folder, remove_leftovers
from training.recipe import Recipe

RECIPE_FILE = "recipe.json"  # with which settings the run was started
PHOTOS_FILE = "photos.json"  # and with which photos


def check_run(run: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> None:
    """Refuses to overwrite an earlier run by accident, or to resume another one.

    Raises:
        RecipeError: If the folder holds something that the two options do not allow for.
    """
    recipe_file = run / RECIPE_FILE
    if resume:
        if not recipe_file.exists():
            raise RecipeError(f"'{run}' holds no run to resume: leave out --resume.")
        if recipe_file.read_text(encoding="utf-8") != recipe.model_dump_json(indent=2):
            raise RecipeError(
                f"'{run}' was started with other settings ({recipe_file}): "
                "resume it with the same command or choose --overwrite."
            )
    elif recipe_file.exists() and not overwrite:
        raise RecipeError(
            f"'{run}' already holds a run: go on with --resume, replace it with --overwrite "
            "or name another folder with --out."
        )
    elif run.is_file() or (_visible(run) and not recipe_file.exists()):
        raise RecipeError(f"'{run}' holds other files: name an empty folder with --out.")


def open_run(run: Path, recipe: Recipe, *, resume: bool) -> FileLock:
    """Makes a run's folder ready to be written: emptied, or as a kill left it but for half files.

    Returns:
        The lock on the folder; it is held until it is released or the process ends, however.

    Raises:
        RecipeError: If another process is training in the folder.
        WriteError: If it can't be written to.
    """
    lock = FileLock(run / ".lock")
    try:
        make_folder(run)
        with suppress(NotImplementedError):  # a file system that has no locks
            lock.acquire(timeout=0)
        remove_leftovers(run)
        if not resume:
            _empty(run)
    except Timeout:
        raise RecipeError(f"Another training is writing to '{run}': wait for it.") from None
    except OSError as error:
        raise WriteError(f"'{run}' can't be written to ({error.strerror}).") from None
    if not resume:
        with atomic_path(run / RECIPE_FILE) as temporary:
            temporary.write_text(recipe.model_dump_json(indent=2), encoding="utf-8")
    return lock


def note_photos(run: Path, fingerprints: Mapping[str, str], *, resume: bool) -> None:
    """Writes down which photos a run was started with, or holds it to them.

    Args:
        run: The run's folder.
        fingerprints: Of those to train on and of those held out.
        resume: Whether the run was started before.

    Raises:
        RecipeError: If it was started with others: some held out now may have been trained on.
    """
    path, found = run / PHOTOS_FILE, json.dumps(fingerprints, indent=2)
    if not resume:
        with atomic_path(path) as temporary:
            temporary.write_text(found, encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != found:
        raise RecipeError(
            f"'{run}' was started with other photos: put those back or choose --overwrite."
        )


def _empty(run: Path) -> None:
    """Moves what an earlier run left out of sight, piece by piece in one step each, then deletes it.

    Its recipe stays until the new one takes its place: a folder without one would be no run.
    """
    away = Path(tempfile.mkdtemp(prefix=".old.", suffix=".tmp", dir=run))
    # without its checkpoint an earlier run can only be begun anew, whatever else is still there
    for path in sorted(_visible(run), key=lambda path: path.name != "last.safetensors"):
        if path.name != RECIPE_FILE:
            os.rename(path, away / path.name)
    shutil.rmtree(away)


def _visible(run: Path) -> list[Path]:
    return [path for path in run.iterdir() if path.name[0] != "."] if run.is_dir() else []
