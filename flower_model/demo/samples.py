"""Sample photos for visitors without one of their own."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

LICENCE = "CC BY 2.0"


@dataclass(frozen=True)
class Sample:
    """A photo on Flickr under `LICENCE`, of which scikit-learn has a copy.

    Attributes:
        path: The copy.
        title: Short description.
        author: Its author's name on Flickr.
        number: Its number on Flickr.
    """

    path: Path
    title: str
    author: str
    number: int


def sample_photos(labels: Iterable[str]) -> list[Sample]:
    """Return the samples for a model with these labels; none unless it knows their flower."""
    sklearn = find_spec("sklearn")  # importing it would take a second
    known = any("dahlia" in label.lower() for label in labels)
    if sklearn is None or sklearn.origin is None or not known:
        return []
    folder = Path(sklearn.origin).parent / "datasets" / "images"
    samples = [
        Sample(folder / "flower.jpg", "A dahlia", "vultilion", 6056698931),
        Sample(folder / "china.jpg", "A pagoda", "danielbuechele", 6061409035),
    ]
    return [sample for sample in samples if sample.path.is_file()]
