"""python -m training.pack: pack the photos of a data root into small tar files for a machine with a GPU.

Every photo is resized and stored as WebP under its old name; other files, such as label lists, are copied. The
tar files unpack to a data root that `training.train` reads like the original one.
"""

import argparse
import io
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flower_model.cli.common import run_command
from flower_model.errors import DataError, ImageError, shorten
from training.arguments import add_data_root_argument
from training.data.folders import visible_files

QUALITY = 88  # of WebP; a training photo of 256 pixels takes some 20 kB
PADDING = 10_240  # bytes, to a multiple of which tar pads a file
Entry = tuple[tarfile.TarInfo, bytes]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code (2: invalid input, reported in one sentence)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.pack",
        description="Pack the photos of a data root into small tar files for another machine.",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        help="folders of the data root, such as flowers-102 flowers5 not-flowers",
    )
    add_data_root_argument(parser)
    parser.add_argument(
        "--out", default="packed", help="folder for the tar files (default: packed)"
    )
    parser.add_argument(
        "--short-side",
        type=int,
        default=256,
        metavar="PIXELS",
        help="resize larger photos to this short side (default: 256)",
    )
    parser.add_argument(
        "--max-mb", type=int, default=60, help="maximum size of a tar file in MB (default: 60)"
    )
    return run_command(lambda: _pack(parser.parse_args(arguments)))


def pack(
    folders: list[Path], root: Path, out: Path, *, short_side: int, max_bytes: int
) -> list[Path]:
    """Pack folders into tar files photos-00.tar, photos-01.tar, … of at most `max_bytes`.

    The result depends only on the files, so packing again gives the same tar files.

    Args:
        folders: Folders under `root`.
        root: The data root; names in the tar files are relative to it.
        out: Folder for the tar files; created if missing.
        short_side: Larger photos are resized to this short side in pixels.
        max_bytes: Maximum size of a tar file.

    Raises:
        DataError: If a folder is missing, empty or not under `root`, or a single file is larger than
            `max_bytes`.
    """
    from flower_model.system.files import atomic_path

    files = []
    for folder in folders:
        if ".." in folder.parts or not folder.is_relative_to(root):
            raise DataError(
                f"'{shorten(folder)}' is not below '{shorten(root, 100)}': name folders from --data-root."
            )
        found = visible_files(folder)
        if not found:
            raise DataError(f"There are no files in '{shorten(folder)}'. Check --data-root.")
        files += found
    parts: list[Path] = []
    for entries in _parts(files, root, short_side, max_bytes):
        parts.append(out / f"photos-{len(parts):02}.tar")
        with atomic_path(parts[-1]) as temporary, tarfile.open(temporary, "w") as tar:
            for info, content in entries:
                tar.addfile(info, io.BytesIO(content))
    return parts


def _parts(files: list[Path], root: Path, short_side: int, max_bytes: int) -> Iterator[list[Entry]]:
    """Yield the entries of one tar file after the other."""
    part: list[Entry] = []
    size = PADDING
    with ThreadPoolExecutor() as pool:
        encoded = pool.map(lambda file: _encode(file, short_side), files)
        for path, content in zip(files, encoded, strict=True):
            info = tarfile.TarInfo(path.relative_to(root).as_posix())
            info.size = len(content)
            needed = 512 + (info.size + 511) // 512 * 512  # a header, and whole blocks
            if PADDING + needed > max_bytes:
                raise DataError(f"'{shorten(info.name)}' alone is larger than --max-mb: raise it.")
            if size + needed > max_bytes:
                yield part
                part, size = [], PADDING
            part.append((info, content))
            size += needed
    yield part


def _encode(path: Path, short_side: int) -> bytes:
    from PIL import Image

    from flower_model.photos.decode import open_image

    try:
        image = open_image(path)
    except ImageError:  # a label list, or a broken photo, which training reports
        return path.read_bytes()
    scale = short_side / min(image.size)
    if scale < 1:
        size = round(image.width * scale), round(image.height * scale)
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=4)
    return file.getvalue()


def _pack(options: argparse.Namespace) -> int:
    root, side = Path(options.data_root), options.short_side
    if side < 1 or options.max_mb < 1:
        raise DataError("--short-side and --max-mb must be at least 1.")
    folders = [root / name for name in options.folders]
    max_bytes = options.max_mb * 1_000_000
    for part in pack(folders, root, Path(options.out), short_side=side, max_bytes=max_bytes):
        print(f"{part}  {part.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
