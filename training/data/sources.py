"""The sources of a recipe: labelled photos, validation splits and checks before training."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from flower_model.cli.common import print_error
from flower_model.config import MAX_LABEL, is_valid_label
from flower_model.errors import DataError, shorten
from flower_model.system.files import file_digest
from training.data import flowers102
from training.data.folders import (
    Photo,
    locate_source,
    model_label,
    read_photo_folder,
    split_source,
)
from training.data.shards import fetch_sample, fetch_split, is_sharded
from training.data.streaming import stream_source
from training.recipe import Data


def gather(data: Data, root: Path) -> tuple[list[Photo], list[Photo]]:
    """Return the training and the validation photos of a recipe, and check all its sources.

    Training photos that are exact copies of validation photos are excluded.

    Args:
        data: The recipe's sources.
        root: Folder that relative sources are resolved against.

    Raises:
        DataError: If a source is missing, a class is empty, or there are fewer than two classes; also
            for the sources that are only used after training.
    """
    notes: list[str] = []
    train = [p for name in data.train for p in _read_source(name, root, data, notes)]
    val = [p for name in data.val for p in _read_source(name, root, data, notes)]
    held_out = {digest(photo.path) for photo in val}
    unseen = [photo for photo in train if digest(photo.path) not in held_out]
    if len(unseen) < len(train):
        copies = len(train) - len(unseen)
        notes.append(f"Left out (copies of held-out photos): {copies} training photos.")
    check_classes(unseen, val)
    for source in {*data.test, *data.calibrate}:  # now rather than after hours of training
        others = _read_source(source, root, data.model_copy(update={"stream": False}), notes)
        check_labels(others, source, {photo.label for photo in unseen})
    _print_notes(notes)
    return unseen, val


def source_photos(source: str, root: Path, data: Data) -> list[Photo]:
    """Return the photos of one source with renamed labels; print what was left out.

    Args:
        source: One of
            - "flowers102:SPLIT", one of Oxford's splits,
            - "flowers102-all:train" and ":val", Oxford's train and val together, divided by
              `data.val_fraction`,
            - "FOLDER:train", ":val" and ":test", a folder's split; without a folder for validation,
              the training photos are divided,
            - "FOLDER", all photos of a folder.
            A folder may also contain Parquet or WebDataset shards, or be a dataset on the Hub,
            "hf://datasets/user/name". With `data.stream`, the training photos are a sample.
        root: Folder that relative sources are resolved against.
        data: The renames, val_fraction and split_seed.

    Raises:
        DataError: If the source or the split is missing, or a class is empty.
    """
    notes: list[str] = []
    photos = _read_source(source, root, data, notes)
    _print_notes(notes)
    return photos


def _read_source(source: str, root: Path, data: Data, notes: list[str]) -> list[Photo]:
    name, split = split_source(source)
    if name == "flowers102":
        photos = _relabel(flowers102.photos(root, split or "test"))
    elif name == "flowers102-all" and split in ("train", "val"):
        photos = flowers102.photos(root, "train") + flowers102.photos(root, "val")
        # divided by the data set's own names
        photos = _relabel(_divide(photos, split, data, notes))
    else:
        place = locate_source(name, root)
        if data.stream or is_sharded(place):
            splits = _read_shards(place, split, data, root, notes)
        else:
            splits = _read_folder(Path(place), notes)
        if not split:
            photos = [photo for part in splits.values() for photo in part]
        else:
            divided = split != "test" and not splits.get("val")
            part = ("train" if "train" in splits else "") if divided else split
            photos = splits.get(part, [])
            if not photos:
                raise DataError(
                    f"'{shorten(place)}' has no {split} split, only {', '.join(splits) or 'none'}: add "
                    "a folder of that name with class folders in it."
                )
            if divided:
                photos = _divide(photos, split, data, notes)
    return [Photo(photo.path, model_label(photo.label, data.rename), name) for photo in photos]


def _relabel(photos: list[Photo]) -> list[Photo]:
    labels = {flower.oxford: flower.label for flower in flowers102.flowers()}
    return [replace(photo, label=labels[photo.label]) for photo in photos]


def _read_folder(folder: Path, notes: list[str]) -> dict[str, list[Photo]]:
    found = read_photo_folder(folder)
    notes += found.notes
    return found.splits


def _read_shards(
    place: str, split: str, data: Data, root: Path, notes: list[str]
) -> dict[str, list[Photo]]:
    """Return the splits of a dataset in shards that are needed to read one of them; "" is all."""
    splits: dict[str, list[Photo]] = {}
    for part in {"": ("train", "val", "test"), "test": ("test",)}.get(split, ("val", "train")):
        if data.stream and part == "train":
            dataset = stream_source((*data.train, *data.val), root)
            folder: Path | None = fetch_sample(dataset) / "train"
        else:
            folder = fetch_split(place, part)
        if folder:
            splits[part] = [p for found in _read_folder(folder, notes).values() for p in found]
        if split == "val" and splits.get("val"):
            break
    return splits


def _divide(photos: list[Photo], split: str, data: Data, notes: list[str]) -> list[Photo]:
    """Return one side of a stratified split in which exact copies of a photo stay on one side.

    Every class keeps training photos; a class with fewer photos than there are folds may have no
    validation photos.
    """
    different = Counter(label for label, _ in {(p.label, digest(p.path)) for p in photos})
    single = sorted(label for label, count in different.items() if count < 2)
    if single:
        names = shorten(", ".join(single), 100)
        notes.append(f"Not held out, since these classes have one photo (copies aside): {names}.")
    divided = [i for i, photo in enumerate(photos) if photo.label not in single]
    held_out: set[int] = set()
    if divided:
        count = min(max(2, round(1 / data.val_fraction)), max(different.values()))
        labels = [photos[i].label for i in divided]
        copies = [digest(photos[i].path) for i in divided]  # equal for copies of a photo
        folder = StratifiedGroupKFold(count, shuffle=True, random_state=data.split_seed)
        with warnings.catch_warnings():  # about classes with fewer photos than folds
            warnings.simplefilter("ignore", UserWarning)
            fit, val = next(folder.split(divided, labels, copies))
        trained = {labels[i] for i in fit}
        held_out = {divided[i] for i in val if labels[i] in trained}
    return [photo for i, photo in enumerate(photos) if (i in held_out) == (split == "val")]


def check_classes(train: Sequence[Photo], val: Sequence[Photo]) -> None:
    """Raise DataError unless there are training photos of two classes and validation photos of those."""
    classes = {photo.label for photo in train}
    if len(classes) < 2:
        found = f"only '{shorten(next(iter(classes)))}'" if classes else "none"
        raise DataError(f"Training needs photos of at least two classes, and there is {found}.")
    for label in sorted(classes):
        if not is_valid_label(label):
            raise DataError(
                f"{shorten(ascii(label))} can't be a label: rename the class folder to at most "
                f"{MAX_LABEL} printable characters."
            )
    unknown = sorted({photo.label for photo in val} - classes)
    if unknown:
        raise DataError(
            f"Class '{shorten(unknown[0])}' has held-out photos but none to train on, copies of held-out "
            "photos aside: add some to its training folder."
        )
    if not val:
        raise DataError(
            "No photos are held out: add a folder called val, or at least two different photos of a "
            "class."
        )


def check_labels(photos: Sequence[Photo], source: str, labels: Collection[str]) -> None:
    """Raise DataError if the label of a photo is not among the model's labels."""
    unknown = sorted({photo.label for photo in photos} - set(labels))
    if unknown:
        raise DataError(
            f"Class '{shorten(unknown[0])}' of '{shorten(source)}' is not among the model's labels: "
            "rename its folder to one of them."
        )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal; of an unreadable file, that of its path."""
    try:
        status = path.stat()
        return _content_digest(path, status.st_size, status.st_mtime_ns)
    except OSError:
        return hashlib.sha256(os.fsencode(path)).hexdigest()  # decode_photos reports the file


@cache
def _content_digest(path: Path, size: int, modified: int) -> str:
    return file_digest(path)


def fingerprint(photos: Sequence[Photo]) -> str:
    """Return a SHA-256 over the sorted digests of the photos, which identifies the set."""
    return hashlib.sha256("\n".join(sorted(digest(p.path) for p in photos)).encode()).hexdigest()


def folds(photos: Sequence[Photo], count: int) -> np.ndarray:
    """Assign photos to folds by their digests: reproducibly, and copies to the same fold.

    Returns:
        (photos,) int64 fold numbers from 0 to `count` - 1; the folds have nearly equal sizes.
    """
    digests = [digest(photo.path) for photo in photos]
    fold_of = {digest: rank % count for rank, digest in enumerate(sorted(set(digests)))}
    return np.array([fold_of[digest] for digest in digests], dtype=np.int64)


def _print_notes(notes: Iterable[str]) -> None:
    for note in dict.fromkeys(notes):  # in order, without repetitions
        print_error(note)
