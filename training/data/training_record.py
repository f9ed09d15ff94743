"""The record of the photos that a run was trained on, so that evaluation can recognise them."""

from collections.abc import Sequence
from pathlib import Path

from flower_model.system.files import atomic_path
from training.data.folders import Photo
from training.data.sources import digest

RECORD_FILE = "trained-on.txt"  # in the run's folder, which is never published


def save_record(run: Path, photos: Sequence[Photo]) -> None:
    """Write the SHA-256 digests of a run's training photos; of a stream, those of its sample."""
    digests = sorted({digest(photo.path) for photo in photos})
    with atomic_path(run / RECORD_FILE) as temporary:
        temporary.write_text("\n".join(digests), encoding="utf-8")


def load_record(weights: Path) -> frozenset[str]:
    """Return the digests of the training photos of a model in a run's folder; empty for other models."""
    try:
        return frozenset((weights.parent / RECORD_FILE).read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return frozenset()


def count_trained_on(photos: Sequence[Photo], record: frozenset[str]) -> int:
    """Return the number of photos, or of exact copies, in the record of training photos."""
    return sum(digest(photo.path) in record for photo in photos) if record else 0
