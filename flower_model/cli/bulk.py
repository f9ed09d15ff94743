"""Bulk prediction into a results file: `python -m flower_model FOLDER --output answers.csv`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import tee
from pathlib import Path

from tqdm import tqdm

from flower_model.bulk.shard import Shard
from flower_model.classifier import FlowerClassifier
from flower_model.cli.common import print_error, print_failures, stop_signals
from flower_model.photos.discovery import describe_skipped, find_photos
from flower_model.results.results_file import ResultsFile
from flower_model.serialization.weights_folder import model_version


def write_results(
    model: FlowerClassifier,
    names: Sequence[str],
    output: Path,
    *,
    top_k: int,
    shard: Shard | None = None,
) -> int:
    """Predict every photo that has no row in `output` yet; unreadable photos get an error row.

    With a shard, only its photos are predicted, into a file of its own. The precision
    may differ: machines of different kinds may share or resume a job, as with `--precision auto`.

    Returns:
        The exit code: 2 if any photo could not be opened, 128 plus the signal's number after a
        signal.

    Raises:
        FlowerModelError: If `output` can't be written or holds results of other options.
    """
    skipped: Counter[str] = Counter()
    output = shard.path(output) if shard else output
    total = sum(1 for _ in _photos_of(shard, names, skipped))
    top_k = min(top_k, len(model.labels))
    version = model_version(model.folder, model.config)
    with (
        stop_signals() as received,
        ResultsFile(output, model=version, top_k=top_k) as results,
        tqdm(total=total, initial=results.rows, unit=" photos", disable=None) as bar,
    ):
        todo, photos = tee(
            photo for photo in _photos_of(shard, names) if not results.is_done(photo)
        )
        with closing(model.predict_stream(todo, top_k=top_k)) as stream:
            for photo, answer in zip(photos, stream, strict=False):  # photos ends first
                results.write(photo, answer)
                bar.update()
                if received:
                    break
        if not received:
            results.finish()
    if received:
        print_error(
            f"Stopped after {results.rows} of {total} photos. Run the same command again to resume."
        )
        return 128 + received[0]
    if skipped:
        print_error(describe_skipped(skipped))
    return print_failures(results.errors, results.failures, output)


def _photos_of(
    shard: Shard | None, names: Sequence[str], skipped: Counter[str] | None = None
) -> Iterator[str]:
    photos = find_photos(names, skipped)
    return photos if shard is None else (photo for photo in photos if photo in shard)
