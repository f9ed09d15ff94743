"""What the model says about a photo."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """What the model says about one photo.

    Attributes:
        top: (label, probability) pairs, best first; probabilities are calibrated, in [0, 1].
        flower_probability: That there is a flower at all, in [0, 1], were half of all photos of
            flowers; None if the model can't tell.
        is_flower: Whether it is high enough to call it one (the least depends on the model: it is
            set so as to lose few flowers, and need not be a half); None if the model can't tell.
    """

    top: tuple[tuple[str, float], ...]
    flower_probability: float | None = None
    is_flower: bool | None = None

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Calibrated probability of `label`, in [0, 1]."""
        return self.top[0][1]
