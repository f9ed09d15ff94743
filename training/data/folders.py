"""Folders of class folders as users have them: with or without splits, nested or unzipped twice."""

import mimetypes
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flower_model.errors import DataError, ImageError, shorten

# The words that Hugging Face `datasets` recognises in names, here in any case.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
SYSTEM_NAMES = ("__macosx", "@eadir", ".ds_store", "thumbs.db", "desktop.ini")
HUB_PREFIX = "hf://datasets/"
SHARD_SUFFIXES = (".parquet", ".tar")


def split_source(source: str) -> tuple[str, str]:
    """Return the folder or dataset and the split ("train", "val", "test" or "") of a source."""
    name, _, split = source.rpartition(":")
    return (name, SPLITS[split.lower()]) if name and split.lower() in SPLITS else (source, "")


def locate_source(name: str, root: Path) -> str:
    """Return the path of a folder named relative to `root`, or a dataset's name on the Hub as it is."""
    return name if name.startswith(HUB_PREFIX) else str(root / Path(name).expanduser())


@dataclass(frozen=True)
class Photo:
    """A file with its label and the folder or dataset it comes from."""

    path: Path
    label: str
    source: str = ""


@dataclass(frozen=True)
class PhotoFolder:
    """The labelled photos of a folder.

    Attributes:
        splits: Photos by split: "train", "val" and "test", or "" for a folder without splits.
        notes: Sentences about files that were left out and about the layout.
    """

    splits: dict[str, list[Photo]]
    notes: list[str]


def read_photo_folder(path: Path) -> PhotoFolder:
    """Find the class folders in a folder, inside split folders such as train/ and val/ if it has any.

    All files in a class folder, at any depth, belong to the class. A folder whose only content is
    another folder of class folders, as archives often have it, is skipped.

    Raises:
        DataError: If the folder is missing, has no class folders, or one of them is empty.
    """
    if not path.is_dir():
        problem = "is a file, not a folder" if path.exists() else "doesn't exist"
        raise DataError(
            f"The data folder '{shorten(path)}' {problem}: check --data, --data-root or the recipe."
        )
    return _Reader().read(_Folder(path))


def has_class_folders(path: Path) -> bool:
    """Return True if a folder inside the folder contains photos."""
    return path.is_dir() and any(inner.has_photos for inner in _Folder(path).folders)


def has_test_split(path: Path) -> bool:
    """Return True if a folder has labelled test photos, in class folders or in shards.

    Raises:
        DataError: If the folder is missing, or has neither shards nor class folders.
    """
    shards = find_shards(path)
    if shards and not has_class_folders(path):
        return any(split_in_name(str(file.relative_to(path))) == "test" for file in shards)
    return "test" in read_photo_folder(path).splits


def find_shards(path: Path) -> list[Path]:
    """Return the Parquet files in a folder at any depth, or the WebDataset files if there are none."""
    files = visible_files(path)
    for suffix in SHARD_SUFFIXES:
        if shards := [file for file in files if file.suffix.lower() == suffix]:
            return shards
    return []


def visible_files(path: Path) -> list[Path]:
    """Return the files in a folder at any depth, sorted, without hidden ones."""
    return sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith("."))


def clean_label(name: str) -> str:
    """Return a class folder's name as a label: in NFC (macOS stores NFD) and with plain spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def split_in_name(name: str) -> str:
    """Return the split that a name like "Training", "seg_train" or "val-00000" denotes, or ""."""
    words = re.split(r"[\W\d_]+", name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), "")


def model_label(name: str, rename: Mapping[str, str]) -> str:
    """Return the model's label for the name of a class, after the recipe's renames."""
    names = {clean_label(old): new for old, new in rename.items()}
    return clean_label(names.get(clean_label(name), name))


class _Folder:
    """A folder with its visible folders and files, and those that are hidden."""

    def __init__(self, path: Path, parents: tuple[str, ...] = ()) -> None:
        self.path, self.name = path, path.name
        self.folders: list[_Folder] = []
        self.files: list[Path] = []
        self.hidden: list[Path] = []
        parents = (*parents, os.path.realpath(path))
        try:
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"'{shorten(path)}' can't be read: {error.strerror}.") from None
        for entry in entries:
            if entry.name.lower() in SYSTEM_NAMES or entry.name.startswith("._"):
                continue
            if entry.name.startswith("."):
                self.hidden.append(path / entry.name)
            elif not entry.is_dir():
                self.files.append(path / entry.name)
            elif os.path.realpath(entry) not in parents:  # a link to a parent would never end
                self.folders.append(_Folder(path / entry.name, parents))

    @property
    def split(self) -> str:
        return split_in_name(self.name)

    @cached_property
    def all_files(self) -> list[Path]:
        """The visible files at any depth."""
        return self.files + [file for inner in self.folders for file in inner.all_files]

    @cached_property
    def all_hidden(self) -> list[Path]:
        return self.hidden + [file for inner in self.folders for file in inner.all_hidden]

    @cached_property
    def has_photos(self) -> bool:
        return any(map(_is_photo, self.all_files))

    @property
    def photo_folders(self) -> "list[_Folder]":
        return [inner for inner in self.folders if inner.has_photos]


class _Reader:
    """Collects the photos of a folder, and what was left out for which reason."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.left_out: defaultdict[str, list[Path]] = defaultdict(list)

    def read(self, folder: _Folder) -> PhotoFolder:
        folder = self._unwrap(folder)
        splits = [f for f in folder.folders if f.split]
        if len(splits) < len(folder.folders) and not any(f.photo_folders for f in splits):
            splits = []  # classes that happen to be called "train" or "test"
        photos: defaultdict[str, list[Photo]] = defaultdict(list)
        shared = _shared_subfolders(folder)
        if not splits and shared and all(map(split_in_name, shared)):
            for photo in self._read_classes(folder):  # CLASS/train/ instead of train/CLASS/
                name = photo.path.relative_to(folder.path).parts[1]
                photos[split_in_name(name)].append(photo)
        elif splits:
            for inner in splits:
                photos[inner.split] += self._read_split(inner)
            self._leave_out(folder, "not in a split folder", besides=splits)
        else:
            photos[""] = self._read_classes(folder)
            if len(shared) > 1:
                self.notes.append(
                    f"All class folders have the same subfolders ({shorten(', '.join(shared), 80)}). If "
                    f"those are the classes, name a single folder of them: {shorten(folder.path, 80)}/…"
                )
        if not any(photos.values()):
            raise _without_labels(folder)
        for reason, paths in self.left_out.items():
            if paths:
                self.notes.append(f"Left out ({reason}): {_quote(paths)}.")
        return PhotoFolder({split: found for split, found in photos.items() if found}, self.notes)

    def _unwrap(self, folder: _Folder) -> _Folder:
        """Descend while only one folder has photos, and it is neither a class nor a split."""
        while len(folder.photo_folders) == 1:
            [inner] = folder.photo_folders
            if inner.split not in ("", folder.split) or not inner.photo_folders:
                break
            self._leave_out(folder, "not in a class folder", besides=[inner])
            self.notes.append(f"The class folders are in '{inner.path}'.")
            folder = inner
        return folder

    def _read_split(self, folder: _Folder) -> list[Photo]:
        if folder.photo_folders:
            return self._read_classes(self._unwrap(folder))
        if folder.has_photos and folder.split == "train":
            raise _without_labels(folder)
        if folder.all_files:
            self._leave_out(folder, f"'{folder.name}' has no class folders")
        else:
            self.notes.append(f"'{folder.name}' is empty and ignored.")
        return []

    def _read_classes(self, folder: _Folder) -> list[Photo]:
        names = {inner.name for inner in folder.folders}
        photos, nested = [], []
        for inner in folder.folders:
            if not inner.all_files:
                raise DataError(
                    f"Class folder '{shorten(inner.path)}' is empty: add photos or remove it."
                )
            if inner.name == folder.name and len(names & {f.name for f in inner.folders}) > 1:
                self.left_out["a copy of the class folders"] += inner.all_files
            elif not inner.has_photos:
                self.left_out["not photos"] += inner.all_files
            else:
                photos += [Photo(file, clean_label(inner.name)) for file in inner.all_files]
                nested += [file for f in inner.folders for file in f.all_files]
                self.left_out["hidden"] += inner.all_hidden
        if not photos:
            raise _without_labels(folder)
        if nested:
            self.notes.append(f"In subfolders of their class folder: {_quote(nested)}.")
        self.left_out["not in a class folder"] += folder.files
        self.left_out["hidden"] += folder.hidden
        return photos

    def _leave_out(
        self, folder: _Folder, reason: str, besides: "list[_Folder] | None" = None
    ) -> None:
        others = [f for f in folder.folders if f not in (besides or [])]
        self.left_out[reason] += folder.files + [p for f in others for p in f.all_files]
        self.left_out["hidden"] += folder.hidden


def _shared_subfolders(folder: _Folder) -> list[str]:
    """Return the names of the subfolders if several class folders hold just these, and no photos beside."""
    classes = folder.photo_folders
    names = [sorted(inner.name for inner in found.photo_folders) for found in classes]
    alike = len(classes) > 1 and all(found == names[0] for found in names)
    return (
        names[0] if alike and not any(map(_is_photo, (p for f in classes for p in f.files))) else []
    )


def _without_labels(folder: _Folder) -> DataError:
    count = sum(map(_is_photo, folder.all_files))
    found = f"{count} photo{'s' * (count != 1)}" if count else _quote(folder.all_files)
    return DataError(
        f"'{shorten(folder.path)}' contains {found} and no class folders: put the photos of each class "
        "in a folder named after the class."
    )


def _quote(paths: list[Path]) -> str:
    """Return a count with examples: "3 files (flowers.zip, notes.txt, …)"."""
    if not paths:
        return "no files"
    shown = ", ".join(shorten(path.name, 30) for path in paths[:3]) + ", …" * (len(paths) > 3)
    return f"{len(paths)} file{'s' * (len(paths) > 1)} ({shown})"


def _is_photo(path: Path) -> bool:
    """Return True for a file with an image suffix, or without a known suffix but with a photo inside."""
    kind, _ = mimetypes.guess_type(path.name.lower())
    if kind or path.suffix.lower() in SHARD_SUFFIXES:
        return str(kind).startswith("image/")
    from flower_model.photos.decode import open_image  # Pillow: not for --help

    try:
        open_image(path)
    except ImageError:
        return False
    return True
