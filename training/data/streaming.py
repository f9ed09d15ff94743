"""Photos to train on that are read from their shards in every epoch, being more than a disk holds."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flower_model.errors import DataError
from training.data.shards import (
    COUNTS_FILE,
    PREFIX,
    errors_of,
    fetch_sample,
    is_sharded,
    named_photos,
    open_splits,
    undecoded,
    version_of,
)
from training.recipe import Data

SHUFFLED = 1000  # rows that are drawn from at a time


@dataclass(frozen=True)
class StreamedPhotos:
    """The training photos of a dataset, read from their shards as they are needed.

    Attributes:
        source: Where they are.
        version: Of the dataset: on the Hub, its commit.
        counts: Label -> its number of photos.
        rename: Class name in the dataset -> label.
    """

    source: str
    version: str
    counts: Counter[str]
    rename: dict[str, str]

    def __len__(self) -> int:
        return self.counts.total()

    def draws(
        self, *, balance: float, seed: int, process: int, processes: int
    ) -> Iterator[tuple[bytes, int]]:
        """The file and the class index of one photo after the other, without end.

        Args:
            balance: As the recipe's.
            seed: Of the order.
            process, processes: Which share of the shards is read; of the rows if they can't be shared.

        Raises:
            HubError: If the shards can't be read.
        """
        from datasets.distributed import split_dataset_by_node

        rng = np.random.default_rng((seed, process))
        targets = {label: index for index, label in enumerate(sorted(self.counts))}
        weights = {label: count**-balance for label, count in self.counts.items()}
        most = max(weights.values())
        with errors_of(self.source):
            rows = open_splits(self.source, self.version)["train"]
            rows = undecoded(rows, self.source).shuffle(seed, buffer_size=SHUFFLED)
            rows = split_dataset_by_node(rows, process, processes)
            for number in itertools.count():
                rows.set_epoch(number)
                for name, content in named_photos(rows, self.source):
                    label = self.rename.get(name, name)
                    if rng.random() < weights[label] / most:
                        yield content, targets[label]


def open_stream(data: Data, root: Path) -> StreamedPhotos | None:
    """The stream of a recipe that asks for one.

    Raises:
        HubError, DataError: As `fetch_sample` does; also if there is not one sharded source.
    """
    if not data.stream:
        return None
    source = stream_source(data, root)
    with errors_of(source):
        version = version_of(source)
    counted = json.loads((fetch_sample(source) / COUNTS_FILE).read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    for name, count in counted.items():
        counts[data.rename.get(name, name)] += count
    return StreamedPhotos(source, version, counts, data.rename)


def stream_source(data: Data, root: Path) -> str:
    """Where the shards of a recipe with a stream are.

    Raises:
        DataError: If there is not one sharded source.
    """
    names = {name.rpartition(":")[0] or name for name in (*data.train, *data.val)}
    source = names.pop()
    source = source if source.startswith(PREFIX) else str(root / source)
    if names or not is_sharded(source):
        raise DataError(
            "Only one dataset in shards, Parquet or WebDataset, can be streamed: name it by --data."
        )
    return source
