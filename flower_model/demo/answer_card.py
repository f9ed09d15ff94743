"""Predictions in words, as HTML with every label escaped."""

from collections.abc import Mapping
from html import escape

from flower_model.prediction import Prediction

# Lowest probability -> words.
WORDS = (
    (0.95, "almost certain"),
    (0.80, "very likely"),
    (0.50, "probably"),
    (0.25, "perhaps"),
    (0.00, "a guess"),
)


def headline(answer: Prediction, descriptions: Mapping[str, str]) -> str:
    """Return the name, botanical name, probability and close second of a prediction."""
    label, probability = answer.top[0]
    botanical = descriptions.get(label, "")
    rival = close_second(answer)
    return (
        f"<h2>{escape(label)}</h2>"
        + (f"<p class='botanical'>{escape(botanical)}</p>" if botanical else "")
        + f"<p><b>{escape(percent(probability))}</b> · {in_words(probability)}</p>"
        + (f"<p class='note'>It could also be <em>{escape(rival)}</em>.</p>" if rival else "")
    )


def no_flower(answer: Prediction) -> str:
    """Return the headline for a photo without a flower."""
    probability = 1 - (answer.flower_probability or 0.0)
    return (
        "<h2>No flower found</h2>"
        f"<p><b>{escape(percent(probability))}</b> · {in_words(probability)}</p>"
        "<p class='note'>This model only knows flowers, and the photo does not look like one.</p>"
    )


def close_second(answer: Prediction) -> str | None:
    """Return the second label if it is a close rival of the first, otherwise None."""
    if len(answer.top) < 2:
        return None
    (_, first), (rival, second) = answer.top[:2]
    return rival if second > first / 2 and first + second > 0.5 else None


def in_words(probability: float) -> str:
    """Return a probability in everyday words."""
    return next(word for least, word in WORDS if probability >= least)


def percent(probability: float) -> str:
    """Return a probability as a percentage; never 0% or 100% by rounding alone."""
    if 0 < probability < 0.01:
        return "<1%"
    if 0.99 < probability < 1:
        return ">99%"
    return f"{100 * probability:.0f}%"
