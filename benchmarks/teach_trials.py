"""Species that are left out of a head, and the photos to teach them from and to measure them on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flower_model.serialization.references import PER_CLASS, References
from flower_model.teaching.head import Head
from training.engine.linear_probe import fit_head

PHOTOS = (1, 3, 5, 10)  # that a species is taught from
MAX_TEST = 60  # other photos of a species
Features = dict[str, np.ndarray]


@dataclass(frozen=True)
class Trial:
    """A species to teach to a head that was made without it.

    Attributes:
        head: The head.
        train: Features of the training photos of each class of the head.
        photos: (10, channels) features of photos to teach the species from.
        test: (photos, channels) other photos of it.
        others: (photos, channels) held-out photos of the head's classes.
        targets: (photos,) their classes.
    """

    head: Head
    train: list[np.ndarray]
    photos: np.ndarray
    test: np.ndarray
    others: np.ndarray
    targets: np.ndarray

    def references(self, per_class: int = PER_CLASS) -> References:
        """Return features of `per_class` training photos of each class of the head."""
        chosen = [photos[:per_class] for photos in self.train]
        targets = np.repeat(np.arange(len(chosen)), [len(photos) for photos in chosen])
        return References(np.concatenate(chosen).astype(np.float16), targets)

    def measure(self, head: Head) -> tuple[float, float]:
        """Return the accuracy on the species, and what the other classes lose, in percent."""
        right = (head(self.test).argmax(1) == len(self.train)).mean()
        before, after = (
            (h(self.others).argmax(1) == self.targets).mean() for h in (self.head, head)
        )
        return 100 * float(right), 100 * float(before - after)


def make_trials(f: Features, head: Head | None, species: int, draws: int) -> Iterator[list[Trial]]:
    """Yield the trials of each draw of species that are left out together.

    Args:
        f: Features and classes.
        head: The network's head; None fits one to the classes that are not left out.
        species: Species in a draw.
        draws: Number of draws.
    """
    classes = int(f["train_y"].max()) + 1
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        left_out = rng.choice(classes, species, replace=False)
        known = np.setdiff1d(np.arange(classes), left_out)
        if head is None:
            rows = np.isin(f["train_y"], known)
            targets = np.searchsorted(known, f["train_y"][rows])
            part = Head(*fit_head(f["train"][rows], targets, l2=1e-3, balance=0.7))
        else:
            part = Head(head.weight[known], head.bias[known])
        of_class = [
            f["train"][rng.permutation(np.flatnonzero(f["train_y"] == c))] for c in range(classes)
        ]
        is_known = np.isin(f["held_out_y"], known)
        others, targets = f["held_out"][is_known], f["held_out_y"][is_known]
        yield [
            Trial(
                part,
                [of_class[c] for c in known],
                of_class[one][: max(PHOTOS)],
                np.concatenate(
                    [of_class[one][max(PHOTOS) :], f["held_out"][f["held_out_y"] == one]]
                )[:MAX_TEST],
                others,
                np.searchsorted(known, targets),
            )
            for one in left_out
        ]
