"""Datasets in Parquet or WebDataset shards, on the Hugging Face Hub or in a folder.

`fetch_split` copies a dataset that fits on the disk to class folders once. `fetch_sample` reads a larger
one through once, to count its classes and to copy a sample; `StreamedPhotos` streams it in every epoch.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import HfApi

from flower_model.cli.common import print_error
from flower_model.errors import DataError, HubError, shorten
from flower_model.system.disk_cache import cache_root, find_entry, new_entry
from flower_model.system.files import atomic_path
from training.data.folders import HUB_PREFIX, find_shards, has_class_folders, split_in_name

SAMPLE = 5000  # training photos of a stream that are copied to files, equally many per class
COUNTS_FILE = "counts.json"


def is_sharded(source: str) -> bool:
    """Return True for a dataset on the Hub, and for a folder of shards without class folders.

    Class folders take precedence, so that a stray archive among them isn't taken for the dataset.
    """
    if source.startswith(HUB_PREFIX):
        return True
    return bool(find_shards(Path(source))) and not has_class_folders(Path(source))


def fetch_split(source: str, split: str) -> Path | None:
    """Copy a split of a dataset to class folders, unless that was done before.

    Args:
        source: A folder of shards or hf://datasets/user/name.
        split: "train", "val" or "test".

    Returns:
        The folder, in the Hub client's assets cache under the dataset's version; None if the dataset
        has no such split.

    Raises:
        HubError: If the dataset doesn't exist or can't be read.
        DataError: If it has no image column or no label column.
    """
    with hub_errors(source):
        dataset = find_dataset(source)
        name = f"{dataset.version}-{split}"
        if not find_entry("photos", name):
            rows = open_splits(dataset).get(split)
            with new_entry("photos", name, folder=True) as temporary:
                # without rows the entry stays empty, so that the next run need not look again
                if rows:
                    _copy(rows, dataset, split, temporary)
    folder = _cached("photos", name, source)
    return folder if any(folder.iterdir()) else None


def fetch_sample(source: str) -> Path:
    """Copy a sample of a dataset's training photos to train/, unless that was done before.

    The dataset is read through once, which also counts the photos of each class (counts.json).

    Raises:
        HubError: If the dataset doesn't exist or can't be read.
        DataError: If it has no image column, no label column or no validation split.
    """
    with hub_errors(source):
        dataset = find_dataset(source)
        if not find_entry("samples", dataset.version):
            splits = open_splits(dataset)
            if not {"train", "val"} <= splits.keys():
                raise DataError(
                    f"'{shorten(source)}' has only the splits {', '.join(splits)}: streaming requires a "
                    "training and a validation split."
                )
            with new_entry("samples", dataset.version, folder=True) as temporary:
                counts = _write_sample(splits["train"], temporary / "train", source)
                (temporary / COUNTS_FILE).write_text(json.dumps(counts), encoding="utf-8")
    return _cached("samples", dataset.version, source)


@dataclass(frozen=True)
class ShardedDataset:
    """A dataset in shards at a certain version.

    Attributes:
        source: A folder of shards or hf://datasets/user/name.
        version: The commit on the Hub, or a hash of the shards' names, sizes and modification times.
        size: Bytes of all files; 0 if the Hub doesn't tell.
    """

    source: str
    version: str
    size: int


def find_dataset(source: str) -> ShardedDataset:
    """Look up the current version of a dataset."""
    if source.startswith(HUB_PREFIX):
        info = HfApi().dataset_info(source.removeprefix(HUB_PREFIX), files_metadata=True)
        return ShardedDataset(source, str(info.sha), sum(f.size or 0 for f in info.siblings or []))
    files = [(file, file.stat()) for file in find_shards(Path(source))]
    content = "\n".join(f"{file} {about.st_size} {about.st_mtime_ns}" for file, about in files)
    version = hashlib.sha256(os.fsencode(content)).hexdigest()
    return ShardedDataset(source, version, sum(about.st_size for _, about in files))


def open_splits(dataset: ShardedDataset) -> dict[str, Any]:
    """Open the splits of a dataset for streaming, by the names "train", "val" and "test"."""
    from datasets import load_dataset

    source = dataset.source
    if source.startswith(HUB_PREFIX):
        name = source.removeprefix(HUB_PREFIX)
        found = load_dataset(name, revision=dataset.version, streaming=True)
    else:
        files: defaultdict[str, list[str]] = defaultdict(list)
        # the files that `find_dataset` hashes, and no others
        for file in find_shards(Path(source)):
            split = split_in_name(str(file.relative_to(source)))
            files[split or "train"].append(str(file))
        kind = "webdataset" if file.suffix.lower() == ".tar" else "parquet"
        found = load_dataset(kind, data_files=dict(files), streaming=True)
    splits: dict[str, Any] = {}
    for name, rows in found.items():
        splits.setdefault(split_in_name(str(name)), rows)
    return splits


def _cached(kind: str, name: str, source: str) -> Path:
    """Return a cached folder, which no other process evicts while this one runs."""
    entry = find_entry(kind, name, pin=True)
    if entry is None:
        raise DataError(f"The copy of '{shorten(source)}' was deleted from the cache: try again.")
    return entry


@contextmanager
def hub_errors(source: str) -> Iterator[None]:
    """Convert the errors of `datasets` and the Hub client into a HubError of one sentence."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # of datasets and the Hub client
        lines = (str(error).strip() or type(error).__name__).splitlines()
        reason = lines[-1 if "DataLoader worker" in lines[0] else 0]
        raise HubError(
            f"'{shorten(source)}' can't be read ({shorten(reason, 150)}): check the name and the files."
        ) from None


def _copy(rows: Any, dataset: ShardedDataset, split: str, folder: Path) -> None:
    source = dataset.source
    size = f"{dataset.size / 1e6:,.0f} MB in all splits" if dataset.size else "of unknown size"
    print_error(f"Copying the {split} photos of '{source}' ({size}) to {cache_root()}.")
    for number, (name, content) in enumerate(iter_photos(without_decoding(rows, source), source)):
        with atomic_path(folder / name / f"{number:07}") as temporary:
            temporary.write_bytes(content)


def _write_sample(rows: Any, folder: Path, source: str) -> dict[str, int]:
    """Copy a random sample of equally many photos per class, and return the counts of all photos.

    Each photo gets a random number and those with the lowest stay (bottom-k sampling, Cohen and
    Kaplan 2007), because the number of classes, and so the sample size per class, is known only at the end.
    """
    rng = np.random.default_rng(0)
    counts: Counter[str] = Counter()
    # heaps, highest number first
    kept: defaultdict[str, list[tuple[float, Path]]] = defaultdict(list)
    for position, (name, content) in enumerate(iter_photos(without_decoding(rows, source), source)):
        counts[name] += 1
        size, photos, drawn = max(1, SAMPLE // len(counts)), kept[name], rng.random()
        if len(photos) < size or drawn < -photos[0][0]:
            path = folder / name / f"{position:07}"
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
            heappush(photos, (-drawn, path))
        _drop_highest(photos, size)
    for photos in kept.values():
        _drop_highest(photos, max(1, SAMPLE // len(counts)))
    return dict(counts)


def _drop_highest(photos: list[tuple[float, Path]], size: int) -> None:
    while len(photos) > size:
        heappop(photos)[1].unlink()


def without_decoding(rows: Any, source: str) -> Any:
    """Return the rows with the photos as encoded files."""
    from datasets import Image

    image, _ = _columns(rows.features, source)
    return rows.cast_column(image, Image(decode=False))


def iter_photos(rows: Any, source: str) -> Iterator[tuple[str, bytes]]:
    """Yield (class name, encoded photo) of each row."""
    image, label = _columns(rows.features, source)
    names = getattr(rows.features[label], "names", None)
    for row in rows:
        text = names[row[label]] if names else str(row[label])
        # untrusted text, used as a folder name: it must not leave the folder
        name = text.replace("/", "-").replace("\\", "-").replace("\0", "").lstrip(".") or "unnamed"
        photo = row[image]
        yield name, photo["bytes"] or Path(photo["path"]).read_bytes()


def _columns(features: Any, source: str) -> tuple[str, str]:
    """Return the names of the image and the label column."""
    from datasets import ClassLabel, Image

    features = features or {}
    images = [name for name, kind in features.items() if isinstance(kind, Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    labels += [name for name in ("label", "labels", "cls", "class") if name in features]
    if not images or not labels:
        raise DataError(
            f"'{shorten(source)}' has the columns {shorten(', '.join(features) or 'none', 100)}: it needs "
            "one of type Image, and one of type ClassLabel or named label."
        )
    return images[0], labels[0]
