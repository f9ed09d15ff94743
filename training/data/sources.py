"""Which photos a recipe trains on and which it holds out: sources, names, splits."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from flower_model.config import MAX_LABEL, is_valid_label
from flower_model.errors import DataError
from training.data import flowers102
from training.data.shards import PREFIX, fetch_photos, fetch_sample, is_sharded
from training.data.streaming import stream_source
from training.recipe import Data


@dataclass(frozen=True)
class Photo:
    """A file and the label it is filed under."""

    path: Path
    label: str
    source: str = ""


def gather(data: Data, root: Path) -> tuple[list[Photo], list[Photo]]:
    """The training and the held-out photos of a recipe.

    Training photos whose file is byte for byte a held-out one are left out.

    Args:
        data: The recipe's sources.
        root: Folder that relative sources lie in.

    Raises:
        DataError: If a source is missing, one of those that only test or calibrate too, a class is
            empty or there are fewer than two.
    """
    train = [p for name in data.train for p in source_photos(name, root, data)]
    val = [p for name in data.val for p in source_photos(name, root, data)]
    held_out = {digest(photo.path) for photo in val}
    unseen = [photo for photo in train if digest(photo.path) not in held_out]
    if len(unseen) < len(train):
        print(f"{len(train) - len(unseen)} training photos are also held out: not trained on.")
    check_classes(unseen, val)
    for source in {*data.test, *data.calibrate}:  # now, not after hours of training
        others = source_photos(source, root, data.model_copy(update={"stream": False}))
        check_labels(others, source, {photo.label for photo in unseen})
    return unseen, val


def source_photos(source: str, root: Path, data: Data) -> list[Photo]:
    """The photos of one source with renamed labels.

    Args:
        source: "flowers102:SPLIT" is Oxford's own split; "flowers102-all:train" and ":val" divide
            Oxford's train and val together by `data.val_fraction`; "FOLDER:train" and ":val" are
            the folder's train/ and val/ or, where it has none, divide it; "FOLDER" is all of it;
            "hf://datasets/user/name:train" is a dataset of the Hub. A folder or a dataset may be in
            shards, Parquet or WebDataset; of one that is streamed these are a sample.
        root: Folder that relative sources lie in.
        data: Renames, val_fraction and split_seed.

    Raises:
        DataError: If the source is missing, is no folder of class folders or has an empty class.
    """
    name, _, split = source.rpartition(":")
    if split not in ("train", "val", "test") or not name:
        name, split = source, ""
    if name == "flowers102":
        photos = _flowers102(root, split or "test")
    elif name == "flowers102-all" and split in ("train", "val"):
        labelled = _flowers102(root, "train") + _flowers102(root, "val")
        photos = _own_split(labelled, split, data)
    else:
        place = name if name.startswith(PREFIX) else str(root / name)
        folder = Path(place)
        if data.stream:
            folder = fetch_sample(stream_source(data, root))
        elif is_sharded(place):
            folder = fetch_photos(place)
        inside = folder / split if split else folder
        if split and not inside.is_dir():
            photos = _own_split(class_folders(folder), split, data)
        else:
            photos = class_folders(inside)
    return [Photo(photo.path, data.rename.get(photo.label, photo.label), name) for photo in photos]


def _flowers102(root: Path, split: str) -> list[Photo]:
    return [Photo(path, label) for path, label in flowers102.photos(root, split)]


def class_folders(folder: Path) -> list[Photo]:
    """All files of a folder of class folders, each labelled with its folder's name.

    Raises:
        DataError: If the folder is missing, has no class folders or an empty one.
    """
    if not folder.is_dir():
        raise DataError(f"There is no data folder '{folder}': check --data or --data-root.")
    classes = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not classes:
        raise DataError(f"'{folder}' holds no class folders: put each class's photos in a folder.")
    photos = []
    for class_folder in classes:
        files = sorted(f for f in class_folder.iterdir() if f.is_file() and f.name[0] != ".")
        if not files:
            raise DataError(f"Class folder '{class_folder}' is empty: add photos or remove it.")
        photos += [Photo(file, class_folder.name) for file in files]
    return photos


def check_classes(train: Sequence[Photo], val: Sequence[Photo]) -> None:
    """Raises DataError unless there are two classes, each with photos to train on and fit for a label."""
    classes = {photo.label for photo in train}
    if len(classes) < 2:
        found = f"only '{next(iter(classes))}'" if classes else "none"
        raise DataError(f"Training needs photos of at least two classes, and there is {found}.")
    for label in sorted(classes):
        if not is_valid_label(label):
            raise DataError(
                f"{label!a} can't be a label: rename the class to at most {MAX_LABEL} "
                "printable characters."
            )
    unknown = sorted({photo.label for photo in val} - classes)
    if unknown:
        raise DataError(f"Class '{unknown[0]}' has held-out photos but none to train on.")
    if not val:
        raise DataError("There are no held-out photos to validate on: add some to val/.")


def check_labels(photos: Sequence[Photo], source: str, labels: Collection[str]) -> None:
    """Raises DataError if a photo of a source has none of the model's labels."""
    unknown = sorted({photo.label for photo in photos} - set(labels))
    if unknown:
        raise DataError(
            f"Class '{unknown[0]}' of '{source}' is none of the model's labels: "
            "rename its folder to one of them."
        )


def _own_split(photos: list[Photo], split: str, data: Data) -> list[Photo]:
    """A stratified split in which byte-for-byte equal files stay on one side.

    A class of fewer photos than there are folds may have none held out.
    """
    counts = Counter(photo.label for photo in photos)
    label, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < 2:
        raise DataError(
            f"Class '{label}' has a single photo: at least two are needed to hold one out."
        )
    count = min(max(2, round(1 / data.val_fraction)), max(counts.values()))
    groups = [digest(photo.path) for photo in photos]
    labels = [photo.label for photo in photos]
    folder = StratifiedGroupKFold(count, shuffle=True, random_state=data.split_seed)
    with warnings.catch_warnings():  # it would rather have no class smaller than that
        warnings.simplefilter("ignore", UserWarning)
        train, val = next(folder.split(photos, labels, groups))
    return [photos[index] for index in (val if split == "val" else train)]


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; of one that can't be read, its name."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)  # unreadable: decode_photos names and skips it


def fingerprint(photos: Sequence[Photo]) -> str:
    """SHA-256 over the sorted SHA-256 sums of the files: says later which photos these were."""
    return hashlib.sha256("\n".join(sorted(digest(p.path) for p in photos)).encode()).hexdigest()


def folds(photos: Sequence[Photo], count: int) -> np.ndarray:
    """Divides photos by the hash of their files: the same way every time, copies together.

    Returns:
        (photos,) int64, 0 to `count` - 1, as many of each as can be.
    """
    digests = [digest(photo.path) for photo in photos]
    fold_of = {digest: rank % count for rank, digest in enumerate(sorted(set(digests)))}
    return np.array([fold_of[digest] for digest in digests], dtype=np.int64)
