"""Streaming: training photos that are read from their shards in every epoch, for data larger than the disk."""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flower_model.errors import DataError, shorten
from training.data.folders import locate_source, model_label, split_source
from training.data.shards import (
    COUNTS_FILE,
    ShardedDataset,
    fetch_sample,
    find_dataset,
    hub_errors,
    is_sharded,
    iter_photos,
    open_splits,
    without_decoding,
)
from training.recipe import Data

SHUFFLE_BUFFER = 1000  # rows


@dataclass(frozen=True)
class StreamedPhotos:
    """The training photos of a dataset in shards.

    Attributes:
        dataset: The dataset.
        counts: Label -> number of photos, copies of held-out photos included.
        rename: Class name in the dataset -> label.
        held_out: SHA-256 digests of the held-out photos, whose copies are skipped.
    """

    dataset: ShardedDataset
    counts: Counter[str]
    rename: dict[str, str]
    held_out: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return self.counts.total()

    def draws(
        self, *, balance: float, seed: int, process: int, processes: int
    ) -> Iterator[tuple[bytes, int]]:
        """Yield pairs (encoded photo, class index) indefinitely.

        Args:
            balance: The recipe's `data.balance`, applied by rejection sampling.
            seed: Seed of the order.
            process, processes: Read only this process's part of the shards, or of the rows if the
                number of shards isn't a multiple of `processes`; all, if that part has no usable photo.

        Raises:
            HubError: If the shards can't be read.
            DataError: If all photos are copies of held-out photos.
        """
        from datasets.distributed import split_dataset_by_node

        rng = np.random.default_rng((seed, process))
        targets = {label: index for index, label in enumerate(sorted(self.counts))}
        weights = {label: count**-balance for label, count in self.counts.items()}
        most = max(weights.values())
        source = self.dataset.source
        with hub_errors(source):
            rows = open_splits(self.dataset)["train"]
            rows = without_decoding(rows, source).shuffle(seed, buffer_size=SHUFFLE_BUFFER)
            part, is_all = split_dataset_by_node(rows, process, processes), processes == 1
            for number in itertools.count():
                part.set_epoch(number)
                usable = False
                for name, content in iter_photos(part, source):
                    if hashlib.sha256(content).hexdigest() in self.held_out:
                        continue
                    usable = True
                    label = model_label(name, self.rename)
                    if rng.random() < weights[label] / most:
                        yield content, targets[label]
                if not usable and is_all:
                    raise DataError(
                        f"All training photos of '{shorten(source)}' are copies of held-out photos: add "
                        "others to its training split."
                    )
                if not usable:
                    part, is_all = rows, True


def open_stream(
    data: Data, root: Path, held_out: frozenset[str] = frozenset()
) -> StreamedPhotos | None:
    """Return the stream of a recipe with `data.stream`, otherwise None.

    `held_out` has the SHA-256 digests of the held-out photos.

    Raises:
        HubError, DataError: As `fetch_sample` and `stream_source` do.
    """
    if not data.stream:
        return None
    source = stream_source((*data.train, *data.val), root)
    with hub_errors(source):
        dataset = find_dataset(source)
    class_counts = json.loads((fetch_sample(source) / COUNTS_FILE).read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    for name, count in class_counts.items():
        counts[model_label(name, data.rename)] += count
    return StreamedPhotos(dataset, counts, data.rename, held_out)


def stream_source(sources: Sequence[str], root: Path) -> str:
    """Return the dataset that all sources of a streaming recipe are splits of.

    Raises:
        DataError: Unless all photos come from one sharded source.
    """
    source, *others = {locate_source(split_source(name)[0], root) for name in sources}
    if others or not is_sharded(source):
        raise DataError(
            "--stream needs a single dataset in Parquet or WebDataset shards: name it with --data."
        )
    return source
