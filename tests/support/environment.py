"""Environments with part of the installed packages, to catch requirements that a list lacks."""

import os
import sysconfig
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def python_with(requirements: str, folder: Path) -> Path:
    """Create an environment that holds the requirements and their dependencies, nothing else.

    Packages are linked from the running environment: installing PyTorch alone takes minutes.

    Args:
        requirements: The text of a requirements.txt.
        folder: The new environment.

    Returns:
        The environment's Python.
    """
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": folder}))
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    for found in closure(map(Requirement, filter(None, lines))):
        for file in found.files or ():
            if ".." not in file.parts:  # a command
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                os.symlink(found.locate_file(file).resolve(), packages / file)
    return folder / "bin" / "python"


def closure(wanted: Iterable[Requirement]) -> list[Distribution]:
    """Return the distributions that the requirements need, directly or not, extras included."""
    found: dict[tuple[str, str], Distribution] = {}  # by name and extra
    waiting = list(wanted)
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        for key in {(name, extra) for extra in ("", *asked.extras)} - found.keys():
            found[key] = distribution(name)
            needs = map(Requirement, found[key].requires or ())
            environment = {"extra": key[1]}
            waiting += [n for n in needs if n.marker is None or n.marker.evaluate(environment)]
    return [one for (_, extra), one in found.items() if not extra]
