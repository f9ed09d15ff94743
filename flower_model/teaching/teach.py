"""A model that is taught new classes from a few photos of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flower_model.classifier import FlowerClassifier
from flower_model.config import (
    CONFIG_FILE,
    MAX_LABEL,
    WEIGHTS_FILE,
    ModelConfig,
    is_valid_label,
    read_content,
    write_content,
)
from flower_model.errors import ModelError, shorten
from flower_model.photos.sources import PhotoSource
from flower_model.plant import BATCH_SIZE, stack_outputs
from flower_model.prediction import NO_FLOWER, UNKNOWN_FLOWER
from flower_model.quantization import find_quantization, save_quantization
from flower_model.rejection import Rejection, save_rejection
from flower_model.runtimes.base import Outputs, Runtime
from flower_model.serialization.references import (
    PER_CLASS,
    References,
    load_references,
    save_references,
)
from flower_model.serialization.weights_folder import write_card
from flower_model.system.files import file_digest
from flower_model.teaching.acceptance import accept_flower
from flower_model.teaching.head import Head, read_head, write_head
from flower_model.teaching.lesson import Lesson, give_lesson

if TYPE_CHECKING:
    from torch import nn

# Details of a run that were measured without the new classes.
MEASURED = ("metrics", "tests", "per_class", "calibration", "known_species")


@dataclass(frozen=True, eq=False)
class TaughtClass:
    """A class that was taught.

    Attributes:
        lesson: Its name and measurements.
        features: (photos, channels) float32 features of its photos.
        row: (channels,) its weights in the last layer.
        bias: Its bias.
    """

    lesson: Lesson
    features: np.ndarray
    row: np.ndarray
    bias: float


@dataclass(frozen=True, eq=False)
class Teachable:
    """A model with what it takes to teach it more classes.

    Attributes:
        base: The model as it was loaded.
        base_head: Its last layer.
        base_references: Features of photos of each of its classes.
        taught: The classes taught so far, some 50 kB each; all else is shared.

    Example:
        >>> taught = Teachable.load(model).teach("my dahlia", ["photo.jpg"])
        >>> taught.model.predict("photo.jpg").label
        'my dahlia'
        >>> taught.save(Path("mine"))
    """

    base: FlowerClassifier
    base_head: Head
    base_references: References
    taught: tuple[TaughtClass, ...] = ()

    @classmethod
    def load(cls, model: FlowerClassifier) -> "Teachable":
        """Read the references of a model that was loaded from a weights folder.

        Raises:
            ModelError: If the folder has no valid references.safetensors, or the network's last
                layer is not linear.
        """
        if model.folder is None:
            raise ModelError(
                "Only a model that was loaded from a weights folder can be taught. Load it with "
                "FlowerClassifier.from_pretrained."
            )
        classes = len(model.labels)
        try:
            digest = file_digest(model.folder / WEIGHTS_FILE)
        except OSError:
            raise ModelError(
                f"'{shorten(model.folder, 120)}' can't be read any more. Load the model again."
            ) from None
        references = load_references(model.folder, digest, classes)
        head = read_head(model.folder, classes)
        if head.weight.shape[1] != references.features.shape[1]:
            raise ModelError(
                f"The references in '{shorten(model.folder, 100)}' have "
                f"{references.features.shape[1]} features, the network {head.weight.shape[1]}. "
                "Make them again with python -m training.teach MODEL --references."
            )
        return cls(model, head, references)

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """The measurements of each taught class."""
        return tuple(each.lesson for each in self.taught)

    @property
    def head(self) -> Head:
        """The last layer with all classes."""
        head = self.base_head
        for each in self.taught:
            head = head.with_row(each.row, each.bias)
        return head

    @property
    def references(self) -> References:
        """Features of photos of all classes, at most `PER_CLASS` of a taught one."""
        old, known = self.base_references, len(self.base_head.bias)
        features = [each.features[:PER_CLASS].astype(np.float16) for each in self.taught]
        counts = list(map(len, features))
        targets = np.repeat(np.arange(known, known + len(counts)), counts)
        return References(
            np.concatenate([old.features, *features]), np.concatenate([old.targets, targets])
        )

    @property
    def rejection(self) -> Rejection | None:
        """The rejection rule, which accepts the taught classes."""
        rule = self.base.rejection
        for each in self.taught:
            rule = rule and accept_flower(rule, each.features)
        return rule

    @property
    def model(self) -> FlowerClassifier:
        """The model with all classes; it shares the network of `base`."""
        head, known = self.head, len(self.base_head.bias)
        labels = (*self.base.config.labels, *(lesson.label for lesson in self.lessons))
        config = replace(
            self.base.config, labels=labels, details=_details(self.base.config, self.lessons)
        )
        runtime = TaughtRuntime(self.base.runtime, Head(head.weight[known:], head.bias[known:]))
        network = partial(_extend_network, self.base, head)
        return FlowerClassifier(network, config, runtime=runtime, rejection=self.rejection)

    def teach(self, label: str, photos: Sequence[PhotoSource]) -> "Teachable":
        """Return the model with one more class.

        Args:
            label: The name of the class.
            photos: Photos of it, as for `FlowerClassifier.predict`. Copies count once.

        Raises:
            ModelError: If the name is taken or invalid, or there are no photos.
            ImageError: If a photo can't be opened.
        """
        labels = [*self.base.labels, *(lesson.label for lesson in self.lessons)]
        check_label(label, labels)
        pixels = {each.tobytes(): each for each in map(self.base.to_pixels, photos)}
        if not pixels:
            raise ModelError(f"'{shorten(label)}' has no photos: give at least one.")
        unique = np.stack([*pixels.values()])
        starts = range(0, len(unique), BATCH_SIZE)
        outputs = stack_outputs(self.base.runtime(unique[i : i + BATCH_SIZE]) for i in starts)
        self._check_head(outputs)
        features, head = outputs.features, self.head
        lesson, extended = give_lesson(
            label, features, head, self.references, labels, self.rejection
        )
        row, bias = extended.weight[-1], float(extended.bias[-1])
        return replace(self, taught=(*self.taught, TaughtClass(lesson, features, row, bias)))

    def save(self, folder: Path) -> None:
        """Write the weights folder of the model, with the references of all classes, without PyTorch."""
        model, source = self.model, self.base.folder
        assert source  # checked by `load`
        if model.rejection:  # before the config.json that refers to it
            save_rejection(model.rejection, folder)
        write_head(source, self.head, folder)
        content = read_content(source / CONFIG_FILE) | model.config.to_timm()
        classes = len(model.labels)
        content["num_classes"] = content["pretrained_cfg"]["num_classes"] = classes
        write_content(folder, content)
        write_card(folder, model.config, ())
        digest = file_digest(folder / WEIGHTS_FILE)
        save_references(self.references, folder, digest)
        # The head is never in 8 bits, so the quantization fits the new weights as it did the old ones.
        if quantization := find_quantization(source, file_digest(source / WEIGHTS_FILE)):
            save_quantization(replace(quantization, weights_sha256=digest), folder)

    def _check_head(self, outputs: Outputs) -> None:
        """Raise ModelError if the head doesn't turn the features into the logits."""
        error = np.abs(self.base_head(outputs.features) - outputs.logits).max()
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
    if _letters(label) in map(_letters, (NO_FLOWER, UNKNOWN_FLOWER)):
        raise ModelError(
            f"'{shorten(label)}' is the answer to photos of nothing that the model knows. Choose another name."
        )
    if label.casefold() in {name.casefold() for name in taken}:
        raise ModelError(f"The model already knows '{shorten(label)}'. Choose another name.")


def _letters(label: str) -> str:
    """Return a name without its case and spaces."""
    return "".join(label.split()).casefold()


def _details(config: ModelConfig, lessons: Sequence[Lesson]) -> dict[str, Any]:
    """Return the details of a config.json without measurements that leave out the taught classes."""
    details = {key: value for key, value in config.details.items() if key not in MEASURED}
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
    return {**details, "taught": [*details.get("taught", []), *taught]}


def _extend_network(base: FlowerClassifier, head: Head) -> "nn.Module":
    """Return a copy of a network with another head."""
    from copy import deepcopy

    from flower_model.serialization.network import set_head

    network = deepcopy(base.network)
    network.reset_classifier(len(head.bias))  # type: ignore[operator]  # a timm network
    set_head(network, head.weight, head.bias)
    return network
