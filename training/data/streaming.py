"""Streaming: training photos that are read from their shards in every epoch, for data larger than the disk."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flower_model.errors import DataError
from training.data.folders import HUB_PREFIX, model_label
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
        counts: Label -> number of photos.
        rename: Class name in the dataset -> label.
    """

    dataset: ShardedDataset
    counts: Counter[str]
    rename: dict[str, str]

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
                number of shards isn't a multiple of `processes`.

        Raises:
            HubError: If the shards can't be read.
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
            rows = split_dataset_by_node(rows, process, processes)
            for number in itertools.count():
                rows.set_epoch(number)
                for name, content in iter_photos(rows, source):
                    label = model_label(name, self.rename)
                    if rng.random() < weights[label] / most:
                        yield content, targets[label]


def open_stream(data: Data, root: Path) -> StreamedPhotos | None:
    """Return the stream of a recipe with `data.stream`, otherwise None.

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
    return StreamedPhotos(dataset, counts, data.rename)


def stream_source(sources: Sequence[str], root: Path) -> str:
    """Return the dataset that all sources of a streaming recipe are splits of.

    Raises:
        DataError: Unless all photos come from one sharded source.
    """
    names = {name.rpartition(":")[0] or name for name in sources}
    source = names.pop()
    source = source if source.startswith(HUB_PREFIX) else str(root / source)
    if names or not is_sharded(source):
        raise DataError(
            "--stream needs a single dataset in Parquet or WebDataset shards: name it with --data."
        )
    return source
