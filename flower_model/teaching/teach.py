"""A model that is taught new classes from a few photos of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flower_model.classifier import FlowerClassifier
from flower_model.config import MAX_LABEL, WEIGHTS_FILE, is_valid_label
from flower_model.errors import ModelError, shorten
from flower_model.photos.sources import PhotoSource
from flower_model.rejection import Rejection
from flower_model.runtimes.base import Outputs, Runtime
from flower_model.serialization.digest import file_digest
from flower_model.serialization.references import References, load_references, save_references
from flower_model.teaching.acceptance import accept_flower
from flower_model.teaching.head import Head, read_head
from flower_model.teaching.lesson import Lesson, give_lesson

if TYPE_CHECKING:
    from torch import nn

# Details of a run that were measured without the new classes.
MEASURED = ("metrics", "tests", "per_class", "calibration", "known_species")


@dataclass(frozen=True)
class Teachable:
    """A model with what it takes to teach it more classes.

    Attributes:
        base: The model as it was loaded.
        model: The model with the classes taught so far.
        head: Its last layer.
        references: Features of photos of each of its classes.
        lessons: One for each taught class.

    Example:
        >>> taught = Teachable.load(model).teach("my dahlia", ["photo.jpg"])
        >>> taught.model.predict("photo.jpg").label
        'my dahlia'
        >>> taught.save(Path("mine"))
    """

    base: FlowerClassifier
    model: FlowerClassifier
    head: Head
    references: References
    lessons: tuple[Lesson, ...] = ()

    @classmethod
    def load(cls, model: FlowerClassifier) -> "Teachable":
        """Read the references of a model that was loaded from a weights folder.

        Raises:
            ModelError: If the folder has no valid references.safetensors, or the network's last
                layer is not linear.
        """
        if model.folder is None:
            raise ModelError("Only a model that was loaded from a weights folder can be taught.")
        classes = len(model.labels)
        try:
            digest = file_digest(model.folder / WEIGHTS_FILE)
        except OSError:
            raise ModelError(f"'{shorten(model.folder, 120)}' can't be read any more.") from None
        references = load_references(model.folder, digest, classes)
        head = read_head(model.folder, classes)
        if head.weight.shape[1] != references.features.shape[1]:
            raise ModelError(
                f"The references in '{shorten(model.folder, 100)}' have "
                f"{references.features.shape[1]} features, the network {head.weight.shape[1]}."
            )
        return cls(model, model, head, references)

    def teach(self, label: str, photos: Sequence[PhotoSource]) -> "Teachable":
        """Return the model with one more class.

        Args:
            label: The name of the class.
            photos: Photos of it, as for `FlowerClassifier.predict`. Copies count once.

        Raises:
            ModelError: If the name is taken or invalid, or there are no photos.
            ImageError: If a photo can't be opened.
        """
        check_label(label, self.model.labels)
        pixels = {self.base.to_pixels(photo).tobytes(): None for photo in photos}
        if not pixels:
            raise ModelError(f"'{shorten(label)}' has no photos: give at least one.")
        side = (self.base.photo_transform.size[1], self.base.photo_transform.size[0], 3)
        batch = np.stack([np.frombuffer(raw, np.uint8).reshape(side) for raw in pixels])
        outputs = self.base.runtime(batch)
        self._check_head(outputs)
        return self.teach_features(label, outputs.features)

    def teach_features(self, label: str, features: np.ndarray) -> "Teachable":
        """Return the model with one more class, from the features (photos, channels) of its photos."""
        rule = self.model.rejection
        lesson, head = give_lesson(
            label, features, self.head, self.references, self.model.labels, rule
        )
        target = np.full(len(features), len(self.model.labels), np.int64)
        references = References(
            np.concatenate([self.references.features, features.astype(np.float16)]),
            np.concatenate([self.references.targets, target]),
        )
        lessons = (*self.lessons, lesson)
        rejection = accept_flower(rule, features) if rule else None
        model = _classifier(self.base, head, lessons, rejection)
        return replace(self, model=model, head=head, references=references, lessons=lessons)

    def save(self, folder: Path) -> None:
        """Write the weights folder of the taught model, with its references."""
        self.model.save_pretrained(folder)
        save_references(self.references, folder, file_digest(folder / WEIGHTS_FILE))

    def _check_head(self, outputs: Outputs) -> None:
        """Raise ModelError if the head doesn't turn the features into the logits."""
        classes = len(self.base.labels)
        expected = self.head(outputs.features)[:, :classes]
        error = np.abs(expected - outputs.logits).max()
        if not error <= 0.05 * np.abs(outputs.logits).max():  # bf16 has errors of a percent
            raise ModelError(
                "This network has more than a linear layer after its features, so no class can be "
                "added to it without training."
            )


class TaughtRuntime:
    """A runtime whose logits are extended by those of taught classes.

    Args:
        base: The runtime of the network.
        rows: The part of the head for the taught classes.
    """

    def __init__(self, base: Runtime, rows: Head) -> None:
        self._base, self._rows = base, rows
        self.name, self.compute, self.data_config = base.name, base.compute, base.data_config
        self.num_classes = None if base.num_classes is None else base.num_classes + len(rows.bias)

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Run a forward pass; there are no activation maps."""
        logits, features, _ = self._base(pixels)
        return Outputs(np.hstack([logits, self._rows(features)]), features, None)


def check_label(label: str, taken: Sequence[str]) -> None:
    """Raise ModelError if a name can't be that of a new class."""
    if not is_valid_label(label) or not label.strip():
        raise ModelError(f"A name needs 1 to {MAX_LABEL} printable characters.")
    if label.casefold() in {name.casefold() for name in taken}:
        raise ModelError(f"The model already knows '{shorten(label)}'. Choose another name.")


def _classifier(
    base: FlowerClassifier, head: Head, lessons: Sequence[Lesson], rejection: Rejection | None
) -> FlowerClassifier:
    known = len(base.labels)
    details = {key: value for key, value in base.config.details.items() if key not in MEASURED}
    if rule := details.get("rejection"):
        details["rejection"] = {key: rule[key] for key in ("method", "threshold") if key in rule}
    taught = [
        {
            "label": lesson.label,
            "photos": lesson.photos,
            "correct_when_left_out": lesson.correct,
            "lost_references": sum(lesson.lost.values()),
            "references": lesson.references,
        }
        for lesson in lessons
    ]
    details["taught"] = [*details.get("taught", []), *taught]
    labels = (*base.config.labels, *(lesson.label for lesson in lessons))
    config = replace(base.config, labels=labels, details=details)
    rows = Head(head.weight[known:], head.bias[known:])
    runtime = TaughtRuntime(base.runtime, rows)
    network = partial(_extend_network, base, head)
    return FlowerClassifier(network, config, runtime=runtime, rejection=rejection)


def _extend_network(base: FlowerClassifier, head: Head) -> "nn.Module":
    """Return a copy of a network with another head."""
    from copy import deepcopy

    import torch

    network = deepcopy(base.network)
    network.reset_classifier(len(head.bias))  # type: ignore[operator]  # a timm network
    layer = network.get_classifier()  # type: ignore[operator]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight).reshape(layer.weight.shape))
        layer.bias.copy_(torch.from_numpy(head.bias))
    return network
