"""Known-species rule: is a flower one of the model's species, or of one it has never seen?"""

from dataclasses import dataclass

import numpy as np

from flower_model.confidence import logistic, probabilities

SCORES = 2  # columns of `species_scores`


@dataclass(frozen=True)
class KnownSpecies:
    """A logistic regression on `species_scores`, fitted by training.calibrate.

    The maximum logit and the top probability are strong baselines for open-set recognition (Vaze et al.
    2022, "Open-Set Recognition: a Good Closed-Set Classifier is All You Need?"). Neither depends on the
    labels, so the rule also holds for a model to which classes were added.

    Attributes:
        weights: (SCORES,) coefficients of the scores.
        intercept: Log odds for scores of 0.
        threshold: Smallest probability that is accepted as a known species, in [0, 1].
    """

    weights: tuple[float, ...]
    intercept: float
    threshold: float

    def probability(self, logits: np.ndarray, temperature: float) -> np.ndarray:
        """Return the probability that each flower belongs to one of the labels, given equal priors.

        Args:
            logits: (photos, classes) float, from a runtime.
            temperature: The model's temperature, > 0.

        Returns:
            (photos,) float64 in [0, 1].
        """
        scores = species_scores(logits, temperature)
        return logistic(scores @ np.asarray(self.weights) + self.intercept)


def species_scores(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return the scores of the rule, higher for known species.

    Args:
        logits: (photos, classes) float.
        temperature: > 0.

    Returns:
        (photos, SCORES) float64: the excess of the maximum logit over the mean logit, in units of the
        temperature, and the log odds of the top probability, in [-9.3, 9.3].
    """
    logits = np.asarray(logits, np.float64)
    excess = (logits.max(axis=1) - logits.mean(axis=1)) / temperature
    top = probabilities(logits, temperature).max(axis=1).clip(1e-4, 1 - 1e-4)
    return np.stack([excess, np.log(top / (1 - top))], axis=1)
