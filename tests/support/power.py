"""The contents of a folder after a power cut: synced data survives, the rest is lost.

A file's content is safe once the file was synced, its name once its folder was. In between a name may
be new and its content still missing, as on a file system that writes its journal before the data: the
recorded disks hold such a file empty, and a test that reads it fails.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """The contents of a disk after a power cut at one moment."""

    folder: Path


@contextmanager
def record_disk(out: Path, images: Path) -> Iterator[None]:
    """Writes to `images` the durable state of out's parent after every step that is taken inside.

    A step is a sync or a rename; after a rename the state is written twice, since the new name may
    or may not have reached the disk without having been synced.
    """
    root = out.parent
    contents: dict[int, bytes] = {}  # inode -> what was synced of it
    names: dict[Path, dict[str, int]] = {}  # folder -> the entries that were synced
    fsync, replace, rename = os.fsync, os.replace, os.rename
    os.makedirs(images)

    def entries(folder: Path) -> dict[str, int]:
        with os.scandir(folder) as found:
            return {entry.name: entry.inode() for entry in found}

    def write(seen: dict[Path, dict[str, int]]) -> None:
        image = images / f"{len(os.listdir(images)):04}"
        image.mkdir()
        folders = {folder.stat().st_ino: folder for folder in seen if folder.is_dir()}

        def fill(folder: Path, target: Path) -> None:
            for name, inode in seen.get(folder, {}).items():
                if inode in folders:
                    (target / name).mkdir()
                    fill(folders[inode], target / name)
                elif inode in contents:
                    (target / name).write_bytes(contents[inode])
                elif name[0] != ".":
                    (target / name).touch()

        fill(root, image)

    def recorded_fsync(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if not path.is_relative_to(root):
            return
        if path.is_dir():
            names[path] = entries(path)
        else:
            contents[os.fstat(descriptor).st_ino] = path.read_bytes()
        write(names)

    def recorded(move: Callable[..., None]) -> Callable[..., None]:
        def moved(source: os.PathLike[str], target: os.PathLike[str]) -> None:
            move(source, target)
            if Path(target).is_relative_to(root):
                if Path(source) in names:  # a folder keeps its entries under its new name
                    names[Path(target)] = names.pop(Path(source))
                write(names | {Path(target).parent: entries(Path(target).parent)})

        return moved

    os.fsync, os.replace, os.rename = recorded_fsync, recorded(replace), recorded(rename)
    try:
        yield
    finally:
        os.fsync, os.replace, os.rename = fsync, replace, rename
