"""References of a finished model: features of some of its training photos, for teaching."""

from pathlib import Path

import numpy as np

from flower_model import FlowerClassifier
from flower_model.config import WEIGHTS_FILE
from flower_model.errors import DataError, shorten
from flower_model.serialization.references import (
    MAX_BYTES,
    PER_CLASS,
    References,
    save_references,
)
from flower_model.system.files import file_digest
from training.data.decoded import DecodedPhotos
from training.engine.inference import predict_photos

ROOM = MAX_BYTES * 9 // 10  # for the training photos; the rest is for taught classes


def write_references(model: FlowerClassifier, train: DecodedPhotos, folder: Path) -> int:
    """Write references.safetensors: features of a random sample of the training photos of each class.

    Returns:
        The number of photos.

    Raises:
        DataError: If a class has no photos, or one photo of each class takes more than `ROOM`.
    """
    rng, targets = np.random.default_rng(0), train.targets(model.labels)
    classes = range(len(model.labels))
    order = [rng.permutation(np.flatnonzero(targets == target)) for target in classes]
    for label, photos in zip(model.labels, order, strict=True):
        if not len(photos):
            raise DataError(
                f"Class '{shorten(label)}' has no training photos: check --data and --data-root."
            )
    _, first = predict_photos(model.runtime, train.subset([0]), title="references")
    per_class = min(PER_CLASS, ROOM // (2 * first.shape[1] * len(order)))  # 16 bits
    if per_class < 1:
        raise DataError(
            f"One photo of each class would exceed the limit of {ROOM // 1_000_000} MB of "
            "references."
        )
    chosen = np.concatenate([photos[:per_class] for photos in order])
    _, features = predict_photos(model.runtime, train.subset(chosen), title="references")
    references = References(features.astype(np.float16), targets[chosen])
    save_references(references, folder, file_digest(folder / WEIGHTS_FILE))
    return len(chosen)
