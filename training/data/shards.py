"""Datasets in Parquet or WebDataset shards, on the Hugging Face Hub or in a folder.

`fetch_photos` copies a dataset that fits on the disk to class folders once. `fetch_sample` reads a larger
one through once, to count its classes and to copy a sample; `StreamedPhotos` streams it in every epoch.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import HfApi

from flower_model.errors import DataError, HubError, shorten
from flower_model.system.disk_cache import find_entry, new_entry
from flower_model.system.files import atomic_path

PREFIX = "hf://datasets/"
SPLITS = {"train": "train", "validation": "val", "valid": "val", "val": "val", "test": "test"}
SAMPLE = 5000  # training photos of a stream that are copied to files, equally many per class
COUNTS_FILE = "counts.json"


def is_sharded(source: str) -> bool:
    """Return True for a dataset on the Hub and for a folder of Parquet or WebDataset files."""
    return source.startswith(PREFIX) or bool(_shard_files(source))


def fetch_photos(source: str) -> Path:
    """Copy the photos of a dataset to a folder of class folders, unless that was done before.

    If the dataset has a validation split, the folder has train/ and val/; otherwise it contains the
    class folders of the training split. It is in the Hub client's assets cache, under the dataset's version.

    Raises:
        HubError: If the dataset doesn't exist or can't be read.
        DataError: If it has no image column or no label column.
    """
    with hub_errors(source):
        version = dataset_version(source)
        if not find_entry("photos", version):
            splits = open_splits(source, version)
            with new_entry("photos", version, folder=True) as temporary:
                folder = temporary / _name(source)
                if "val" not in splits:
                    _write(splits["train"], folder, source)
                else:
                    for name, rows in splits.items():
                        _write(rows, folder / name, source)
    return _cached("photos", version, source)


def fetch_sample(source: str) -> Path:
    """Copy a sample of a dataset's training photos and all validation photos to train/ and val/.

    The dataset is read through once, which also counts the photos of each class (counts.json). The folder
    is in the Hub client's assets cache, under the dataset's version.

    Raises:
        HubError: If the dataset doesn't exist or can't be read.
        DataError: If it has no image column, no label column or no validation split.
    """
    with hub_errors(source):
        version = dataset_version(source)
        if not find_entry("samples", version):
            splits = open_splits(source, version)
            if "val" not in splits:
                raise DataError(
                    f"'{shorten(source)}' has no validation split, which streaming requires."
                )
            with new_entry("samples", version, folder=True) as temporary:
                folder = temporary / _name(source)
                _write(splits["val"], folder / "val", source)
                counts = _write_sample(splits["train"], folder / "train", source)
                (folder / COUNTS_FILE).write_text(json.dumps(counts), encoding="utf-8")
    return _cached("samples", version, source)


def open_splits(source: str, version: str) -> dict[str, Any]:
    """Open the splits of a dataset for streaming, as "train" and, if present, "val" and "test"."""
    from datasets import load_dataset

    if source.startswith(PREFIX):
        found = load_dataset(source.removeprefix(PREFIX), revision=version, streaming=True)
    else:
        found = load_dataset(source, streaming=True)
    splits = {SPLITS[name]: rows for name, rows in found.items() if name in SPLITS}
    if "train" not in splits:
        raise DataError(
            f"'{shorten(source)}' has no training split, only {', '.join(map(str, found))}."
        )
    return splits


def dataset_version(source: str) -> str:
    """Return a version that changes whenever the photos change: the commit, or a hash of the files."""
    if source.startswith(PREFIX):
        return str(HfApi().dataset_info(source.removeprefix(PREFIX)).sha)
    files = [(file, file.stat()) for file in _shard_files(source)]
    content = "\n".join(f"{file} {about.st_size} {about.st_mtime_ns}" for file, about in files)
    return hashlib.sha256(content.encode()).hexdigest()


def _shard_files(source: str) -> list[Path]:
    """Return the shards of a folder at any depth."""
    files = (file for end in ("parquet", "tar") for file in Path(source).glob(f"**/*.{end}"))
    return sorted(files)


def _cached(kind: str, version: str, source: str) -> Path:
    """Return a cached folder, which no other process evicts while this one runs."""
    entry = find_entry(kind, version, pin=True)
    if entry is None:
        raise DataError(f"The copy of '{shorten(source)}' was deleted from the cache: try again.")
    return entry / _name(source)


def _name(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2]


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


def _write(rows: Any, folder: Path, source: str) -> None:
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
    kept: defaultdict[str, list[tuple[float, Path]]] = defaultdict(
        list
    )  # heaps, highest number first
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
