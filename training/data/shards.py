"""Photos of a dataset in shards, Parquet or WebDataset, on the Hugging Face Hub or in a folder.

`datasets` reads them, however they are packed. A dataset that fits on the disk is put into class
folders once (`fetch_photos`). A larger one stays where it is: `fetch_sample` reads it through once, to
count its classes and to keep some of its photos, and `StreamedPhotos` reads it anew in every epoch.
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
from huggingface_hub import HfApi, constants

from flower_model.errors import DataError, HubError
from flower_model.system.files import atomic_folder, atomic_path

PREFIX = "hf://datasets/"
SPLITS = {"train": "train", "validation": "val", "valid": "val", "val": "val", "test": "test"}
SAMPLE = 5000  # training photos of a stream that are kept as files, of each class equally many
COUNTS_FILE = "counts.json"


def is_sharded(source: str) -> bool:
    """Whether a source is a dataset on the Hub, or a folder of Parquet or WebDataset files."""
    return source.startswith(PREFIX) or bool(_shard_files(source))


def fetch_photos(source: str) -> Path:
    """The photos of a dataset as a folder of class folders.

    If the dataset has validation photos the folder holds train/ and val/; otherwise it is its training
    photos. It lies in the Hub client's cache under the dataset's version, and is complete.

    Raises:
        HubError: If the dataset does not exist or can't be fetched.
        DataError: If it has no column of images or none of classes.
    """
    with errors_of(source):
        version = version_of(source)
        folder = _folder("photos", version, source)
        if not folder.is_dir():
            splits = open_splits(source, version)
            with atomic_folder(folder) as temporary:
                if "val" not in splits:
                    _write(splits["train"], temporary, source)
                else:
                    for name, rows in splits.items():
                        _write(rows, temporary / name, source)
    return folder


def fetch_sample(source: str) -> Path:
    """Some training photos of a dataset and all of its validation photos, as train/ and val/.

    To choose them, and to count the photos of each class, the dataset is read through once. The folder
    lies in the Hub client's cache under the dataset's version.

    Raises:
        HubError: If the dataset does not exist or can't be fetched.
        DataError: If it has no column of images, none of classes or no validation photos.
    """
    with errors_of(source):
        version = version_of(source)
        folder = _folder("samples", version, source)
        if not folder.is_dir():
            splits = open_splits(source, version)
            if "val" not in splits:
                raise DataError(f"'{source}' has no split called validation: a stream needs one.")
            with atomic_folder(folder) as temporary:
                _write(splits["val"], temporary / "val", source)
                counts = _write_sample(splits["train"], temporary / "train", source)
                (temporary / COUNTS_FILE).write_text(json.dumps(counts), encoding="utf-8")
    return folder


def open_splits(source: str, version: str) -> dict[str, Any]:
    """The rows of a dataset, as `datasets` streams them, under "train" and, where it has them, "val"."""
    from datasets import load_dataset

    if source.startswith(PREFIX):
        found = load_dataset(source.removeprefix(PREFIX), revision=version, streaming=True)
    else:
        found = load_dataset(source, streaming=True)
    splits = {SPLITS[name]: rows for name, rows in found.items() if name in SPLITS}
    if "train" not in splits:
        raise DataError(f"'{source}' has no split called train.")
    return splits


def version_of(source: str) -> str:
    """Differs whenever the photos do."""
    if source.startswith(PREFIX):
        return str(HfApi().dataset_info(source.removeprefix(PREFIX)).sha)
    files = [(file, file.stat()) for file in _shard_files(source)]
    content = "\n".join(f"{file} {about.st_size} {about.st_mtime_ns}" for file, about in files)
    return hashlib.sha256(content.encode()).hexdigest()


def _shard_files(source: str) -> list[Path]:
    """Of a folder as the Hub holds datasets: shards, or folders of shards."""
    files = (file for end in ("parquet", "tar") for file in Path(source).glob(f"**/*.{end}"))
    return sorted(files)


def _folder(kind: str, version: str, source: str) -> Path:
    name = source.rstrip("/").rpartition("/")[2]
    return Path(constants.HF_ASSETS_CACHE) / "flower_model" / kind / version / name


@contextmanager
def errors_of(source: str) -> Iterator[None]:
    """Says in one sentence, as HubError, why a dataset can't be read inside."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # datasets' and the Hub client's own
        lines = (str(error).strip() or type(error).__name__).splitlines()
        reason = lines[-1 if "DataLoader worker" in lines[0] else 0]
        raise HubError(f"'{source}' can't be fetched ({reason}).") from None


def _write(rows: Any, folder: Path, source: str) -> None:
    for number, (name, content) in enumerate(named_photos(undecoded(rows, source), source)):
        with atomic_path(folder / name / f"{number:07}") as temporary:
            temporary.write_bytes(content)


def _write_sample(rows: Any, folder: Path, source: str) -> dict[str, int]:
    """Keeps equally many photos of each class, drawn at random; counts all.

    How many is known at the end, so at first a class may have more than its share. Each photo draws
    a number, and those with the lowest stay (bottom-k sampling, Cohen and Kaplan 2007).
    """
    rng = np.random.default_rng(0)
    counts: Counter[str] = Counter()
    kept: defaultdict[str, list[tuple[float, Path]]] = defaultdict(list)  # the highest number first
    for place, (name, content) in enumerate(named_photos(undecoded(rows, source), source)):
        counts[name] += 1
        share, photos, drawn = max(1, SAMPLE // len(counts)), kept[name], rng.random()
        if len(photos) < share or drawn < -photos[0][0]:
            path = folder / name / f"{place:07}"
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
            heappush(photos, (-drawn, path))
        _drop_highest(photos, share)
    for photos in kept.values():
        _drop_highest(photos, max(1, SAMPLE // len(counts)))
    return dict(counts)


def _drop_highest(photos: list[tuple[float, Path]], share: int) -> None:
    while len(photos) > share:
        heappop(photos)[1].unlink()


def undecoded(rows: Any, source: str) -> Any:
    """The rows with the files of the photos as they are."""
    from datasets import Image

    image, _ = _columns(rows.features, source)
    return rows.cast_column(image, Image(decode=False))


def named_photos(rows: Any, source: str) -> Iterator[tuple[str, bytes]]:
    """The class and the file of each photo."""
    image, label = _columns(rows.features, source)
    names = getattr(rows.features[label], "names", None)
    for row in rows:
        text = names[row[label]] if names else str(row[label])
        # whoever made the dataset chose this text: it must not lead out of a folder
        name = text.replace("/", "-").replace("\\", "-").replace("\0", "").lstrip(".") or "unnamed"
        photo = row[image]
        yield name, photo["bytes"] or Path(photo["path"]).read_bytes()


def _columns(features: Any, source: str) -> tuple[str, str]:
    """The columns with the photos and with their classes."""
    from datasets import ClassLabel, Image

    features = features or {}
    images = [name for name, kind in features.items() if isinstance(kind, Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    labels += [name for name in ("label", "labels", "cls", "class") if name in features]
    if not images or not labels:
        raise DataError(f"'{source}' needs a column of images and one called label.")
    return images[0], labels[0]
