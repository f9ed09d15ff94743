"""The lesson of one class: its row of the head, and its accuracy in cross-validation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flower_model.rejection import Rejection
from flower_model.serialization.references import References
from flower_model.teaching.acceptance import accept_flower
from flower_model.teaching.head import Head, fit_row

FOLDS = 5  # of the references
MAX_LEFT_OUT = 10  # times that the row is fitted without some of the new photos
MAX_LOST = 0.0025  # fraction of the references that raising the new class's bias may lose


@dataclass(frozen=True)
class Lesson:
    """A taught class, measured by cross-validation.

    Attributes:
        label: The name of the class.
        photos: The number of its photos.
        answers: For each of its photos, the label given by a head that was fitted without it. Empty
            for a single photo.
        accepted: For each of its photos, whether a rule that was fitted without it finds a flower;
            empty for a single photo or without a rule.
        references: The number of photos of the other classes.
        correct_before: The number of those that were named correctly before the lesson.
        lost: Label -> number of those that a head that was fitted without them gives the new label.
    """

    label: str
    photos: int
    answers: tuple[str, ...]
    accepted: tuple[bool, ...]
    references: int
    correct_before: int
    lost: Mapping[str, int]

    @property
    def correct(self) -> int:
        """The number of photos that are named correctly when left out."""
        return self.answers.count(self.label)

    @property
    def confused_with(self) -> dict[str, int]:
        """Label -> number of left-out photos that it is given to, most frequent first."""
        return dict(
            Counter(answer for answer in self.answers if answer != self.label).most_common()
        )


def list_counts(counts: Mapping[str, int]) -> str:
    """Return for example "rose (3), tulip (1)"."""
    return ", ".join(f"{label} ({count})" for label, count in counts.items())


def give_lesson(
    label: str,
    photos: np.ndarray,
    head: Head,
    references: References,
    labels: Sequence[str],
    rule: Rejection | None,
) -> tuple[Lesson, Head]:
    """Add a class to a head, and measure it.

    Few photos of a new class leave its logit too low on its other photos. So its bias is raised until
    each of the photos is named correctly by a row that was fitted without it, but not so far that
    more than `MAX_LOST` of the references would be lost.

    Args:
        label: The name of the class.
        photos: (photos, channels) features of its photos, at least one.
        head: The head.
        references: Features of the other classes.
        labels: Their names, in the order of the head's outputs.
        rule: The rejection rule of the model.
    """
    known, targets = Photos.of(references.features, head), references.targets
    new = Photos.of(photos, head)
    is_correct = known.logits.argmax(axis=1) == targets
    margins, own = _margins_of_known(known, new), _margins_of_new(known, new)
    correct = margins[is_correct]
    most = -float(np.quantile(correct, 1 - MAX_LOST, method="higher")) if len(correct) else 0.0
    needed = -float(own.min()) + 1e-3 if len(own) else most
    raised = max(0.0, min(needed, most))
    lost = targets[is_correct & (margins + raised > 0)]
    rivals = [labels[index] for index in new.logits.argmax(axis=1)]
    answers = [
        label if margin + raised > 0 else rival for margin, rival in zip(own, rivals, strict=False)
    ]
    lesson = Lesson(
        label,
        len(photos),
        tuple(answers),
        _accepted(rule, photos) if rule else (),
        len(targets),
        int(is_correct.sum()),
        {labels[index]: int((lost == index).sum()) for index in np.unique(lost)},
    )
    row, bias = fit_row(*known, *new)
    return lesson, head.with_row(row, bias + raised)


class Photos(NamedTuple):
    """Features (photos, channels) float32 and logits (photos, classes) of photos."""

    features: np.ndarray
    logits: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, head: Head) -> "Photos":
        """Compute the logits."""
        return cls(features.astype(np.float32), head(features))

    def take(self, rows: np.ndarray) -> "Photos":
        """Return the photos at some indices, or where a mask is true."""
        return Photos(self.features[rows], self.logits[rows])

    def margins(self, row: np.ndarray, bias: float) -> np.ndarray:
        """Return by how much the logit of a new class (photos,) exceeds all others."""
        margins: np.ndarray = self.features @ row + bias - self.logits.max(axis=1)
        return margins


def _margins_of_known(known: Photos, new: Photos) -> np.ndarray:
    """Return the margins (photos,) of the references by rows that were fitted without them."""
    margins = np.empty(len(known.logits), np.float32)
    folds = np.arange(len(margins)) % FOLDS  # the references are in the order of the classes
    for fold in range(min(FOLDS, len(margins))):
        unseen = folds == fold
        margins[unseen] = known.take(unseen).margins(*fit_row(*known.take(~unseen), *new))
    return margins


def _margins_of_new(known: Photos, new: Photos) -> np.ndarray:
    """Return the margins (photos,) of the new photos by rows that were fitted without them."""
    everything = np.arange(len(new.logits))
    margins = np.empty(len(everything), np.float32)
    for part in _parts(len(everything)):
        others = new.take(np.delete(everything, part))
        margins[part] = new.take(part).margins(*fit_row(*known, *others))
    return margins if len(margins) > 1 else margins[:0]


def _accepted(rule: Rejection, photos: np.ndarray) -> tuple[bool, ...]:
    """Return whether a rule that is extended by the other photos accepts each photo."""
    accepted = np.empty(len(photos), bool)
    for part in _parts(len(photos)):
        without = accept_flower(rule, np.delete(photos, part, axis=0))
        accepted[part] = without.flower_probability(photos[part]) >= rule.threshold
    return tuple(accepted.tolist()) if len(photos) > 1 else ()


def _parts(count: int) -> list[np.ndarray]:
    """Return the indices of photos in the parts that are left out in turn; none for one photo."""
    return np.array_split(np.arange(count), min(count, MAX_LEFT_OUT)) if count > 1 else []
