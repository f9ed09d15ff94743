"""An environment of a part of what is installed, so that what a list of requirements forgets is missed."""

import os
import sysconfig
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def python_with(requirements: str, folder: Path) -> Path:
    """Python in a new environment with what the lines ask for, and all that this asks for in turn.

    What is installed here is linked and not installed once more: PyTorch alone would take minutes.

    Args:
        requirements: As in a requirements.txt.
        folder: Of the new environment.
    """
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": folder}))
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    for found in _closure(map(Requirement, filter(None, lines))):
        for file in found.files or ():
            if ".." not in file.parts:  # a command
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                os.symlink(found.locate_file(file).resolve(), packages / file)
    return folder / "bin" / "python"


def _closure(wanted: Iterable[Requirement]) -> list[Distribution]:
    """Each distribution that any of them needs, with the extras that are asked for."""
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
