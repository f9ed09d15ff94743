"""Predictions for single photos, and their computation from a network's outputs."""

from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from typing_extensions import TypedDict  # pydantic needs it for the page's API before Python 3.12

from flower_model.confidence import probabilities
from flower_model.config import ModelConfig
from flower_model.errors import FlowerModelError, ModelError
from flower_model.known_species import KnownSpecies
from flower_model.rejection import Rejection
from flower_model.runtimes.base import Outputs

NO_FLOWER, UNKNOWN_FLOWER = "no flower", "unknown flower"
SURE_GENUS, UNSURE_LABEL = 0.8, 0.5  # probabilities between which the genus is the answer


class LabelProbability(TypedDict):
    """A label and its calibrated probability, in [0, 1]."""

    label: str
    probability: float


class TaxonProbability(TypedDict):
    """A genus or family and the sum of its labels' probabilities, in [0, 1]."""

    name: str
    probability: float


class PredictionDict(TypedDict):
    """A `Prediction` as JSON; see its attributes."""

    label: str
    botanical_name: str
    probability: float
    genus: TaxonProbability | None
    family: TaxonProbability | None
    is_flower: bool | None
    flower_probability: float | None
    is_known: bool | None
    known_probability: float | None
    top: list[LabelProbability]


@dataclass(frozen=True)
class Prediction:
    """The model's answer for one photo.

    Attributes:
        top: (label, probability) pairs, most probable first; calibrated, in [0, 1].
        flower_probability: Probability that the photo shows a flower at all, in [0, 1], assuming
            that half of all photos do; None if the model has no rejection rule.
        is_flower: Whether `flower_probability` reaches the model's threshold, which is chosen to
            keep most flowers and need not be 0.5; None if the model has no rejection rule.
        known_probability: Probability that the flower belongs to one of the model's labels, in [0, 1],
            assuming that the photo shows a flower and that half of all flowers do; None if the model
            has no known-species rule.
        is_known: Whether `known_probability` reaches the rule's threshold, which is chosen to keep most
            flowers of the labels; None if the model has no such rule.
        genus: (name, probability) of the most probable genus, summed over its labels; None if the model
            has no taxonomy.
        family: The same for the botanical family.
        botanical_name: The description of `label` in config.json, "" if it has none.
    """

    top: tuple[tuple[str, float], ...]
    flower_probability: float | None = None
    is_flower: bool | None = None
    genus: tuple[str, float] | None = None
    family: tuple[str, float] | None = None
    botanical_name: str = ""
    known_probability: float | None = None
    is_known: bool | None = None

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Calibrated probability of `label`, in [0, 1]."""
        return self.top[0][1]

    @property
    def sure_genus(self) -> tuple[str, float] | None:
        """`genus` if it is sure while the label is not, otherwise None."""
        if self.genus and self.genus[1] >= SURE_GENUS and self.probability < UNSURE_LABEL:
            return self.genus
        return None

    @property
    def answer(self) -> str:
        """The answer to show: `label`, the genus if only that is sure, "unknown flower" or "no flower"."""
        if self.is_flower is False:
            return NO_FLOWER
        if self.is_known is False:
            return UNKNOWN_FLOWER
        return self.sure_genus[0] if self.sure_genus else self.label

    def to_dict(self, *, digits: int = 17) -> PredictionDict:
        """Return the prediction as a JSON-serializable dict.

        Args:
            digits: Significant digits of the probabilities; 17 keep them exact.

        Example:
            >>> Prediction((("rose", 0.7512), ("tulip", 0.2488))).to_dict(digits=2)["top"]
            [{'label': 'rose', 'probability': 0.75}, {'label': 'tulip', 'probability': 0.25}]
        """
        flower, known = self.flower_probability, self.known_probability
        return {
            "label": self.label,
            "botanical_name": self.botanical_name,
            "probability": _round(self.probability, digits),
            "genus": _taxon_dict(self.genus, digits),
            "family": _taxon_dict(self.family, digits),
            "is_flower": self.is_flower,
            "flower_probability": None if flower is None else _round(flower, digits),
            "is_known": self.is_known,
            "known_probability": None if known is None else _round(known, digits),
            "top": [{"label": label, "probability": _round(p, digits)} for label, p in self.top],
        }


def make_predictions(
    outputs: Outputs, config: ModelConfig, rejection: Rejection | None, *, top_k: int
) -> list[Prediction]:
    """Turn the logits and features of photos into predictions with `top_k` labels each.

    Raises:
        ModelError: If a logit or a flower probability is not finite.
    """
    _check_finite(outputs.logits)
    probs = probabilities(outputs.logits, config.temperature)
    best = (-probs).argsort(axis=1)[:, :top_k]
    flower: list[float | None] = [None] * len(probs)
    known = flower
    known_species = rejection.known if rejection else None
    if rejection:
        flower_probs = rejection.flower_probability(outputs.features)
        _check_finite(flower_probs)
        flower = flower_probs.tolist()
    if known_species:
        known = known_species.probability(outputs.logits, config.temperature).tolist()
    predictions = []
    for row, order, flower_p, known_p in zip(probs, best, flower, known, strict=True):
        predictions.append(
            Prediction(
                tuple((config.labels[i], float(row[i])) for i in order),
                flower_probability=flower_p,
                is_flower=reaches(flower_p, rejection),
                genus=_most_probable_taxon(row, config, 0),
                family=_most_probable_taxon(row, config, 1),
                botanical_name=config.descriptions.get(config.labels[order[0]], ""),
                known_probability=known_p,
                is_known=reaches(known_p, known_species),
            )
        )
    return predictions


def reaches(probability: float | None, rule: Rejection | KnownSpecies | None) -> bool | None:
    """Return True if a probability reaches a rule's threshold; None without a rule."""
    return None if probability is None or rule is None else probability >= rule.threshold


def _most_probable_taxon(
    probs: np.ndarray, config: ModelConfig, rank: int
) -> tuple[str, float] | None:
    """Return the genus (rank 0) or family (rank 1) with the largest sum of `probs` (classes,)."""
    sums: dict[str, float] = {}
    for label, probability in zip(config.labels, probs.tolist(), strict=True):
        taxon = config.taxonomy.get(label, ("", ""))[rank]
        if taxon:
            sums[taxon] = sums.get(taxon, 0.0) + probability
    return max(sums.items(), key=itemgetter(1), default=None)


def require_positive(**numbers: int) -> None:
    """Raise FlowerModelError if any of the named numbers is below 1."""
    for name, number in numbers.items():
        if number < 1:
            raise FlowerModelError(f"{name} must be at least 1, not {number}.")


def _taxon_dict(taxon: tuple[str, float] | None, digits: int) -> TaxonProbability | None:
    return {"name": taxon[0], "probability": _round(taxon[1], digits)} if taxon else None


def _round(number: float, digits: int) -> float:
    return float(f"{number:.{digits}g}")


def _check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ModelError("The network's output is not finite. Download the model again.")
