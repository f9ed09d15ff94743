"""python -m flower_model FOLDER --output answers.csv: as many photos as there are, into a file."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from itertools import tee
from pathlib import Path

from tqdm import tqdm

from flower_model.classifier import FlowerClassifier
from flower_model.cli.common import complain, stop_signals
from flower_model.config import CONFIG_FILE, WEIGHTS_FILE
from flower_model.photos.discovery import find_photos
from flower_model.rejection import REJECTION_FILE
from flower_model.results.results_file import AnswerFile


def answer_to_file(
    model: FlowerClassifier, names: Sequence[str], output: Path, *, top_k: int
) -> int:
    """Answers for every photo that `output` has no row of yet; a bad one does not stop the rest.

    Args:
        model: From a weights folder.
        names: Photos and folders of photos.
        output: A .csv, .jsonl or .parquet file.
        top_k: Labels a photo; of a model that knows fewer, all.

    Returns:
        The command's exit code: 2 if any photo could not be opened, 128 and the signal's number
        if stopped by one.

    Raises:
        FlowerModelError: If the file can't be written or was begun otherwise.
    """
    total = sum(1 for _ in find_photos(names))
    top_k = min(top_k, len(model.labels))
    with (
        stop_signals() as received,
        AnswerFile(output, model=_version(model), top_k=top_k) as answers,
        tqdm(total=total, initial=answers.rows, unit=" photos", disable=None) as bar,
    ):
        todo, photos = tee(photo for photo in find_photos(names) if not answers.holds(photo))
        with closing(model.predict_stream(todo, top_k=top_k)) as stream:
            for photo, answer in zip(photos, stream, strict=False):  # photos ends first
                answers.write(photo, answer)
                bar.update()
                if received:
                    break
        if not received:
            answers.finish()
    if received:
        complain(f"Stopped after {answers.rows} of {total} photos: the same command goes on.")
        return 128 + received[0]
    for error in answers.errors:
        complain(error)
    if answers.failures > len(answers.errors):
        complain(f"{answers.failures} photos could not be opened: see 'error' in '{output}'.")
    return 2 if answers.failures else 0


def _version(model: FlowerClassifier) -> str:
    """What tells a model from every other: its architecture and a hash of its files."""
    digest = hashlib.sha256()
    if model.folder:
        rule = (REJECTION_FILE,) if model.rejection else ()
        for name in (CONFIG_FILE, WEIGHTS_FILE, *rule):
            with (model.folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{model.config.architecture}-{digest.hexdigest()[:12]}"
