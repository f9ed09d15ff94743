"""An answer in words, as HTML; labels and file names are text, whatever they hold."""

from collections.abc import Mapping
from html import escape

from flower_model.prediction import Prediction

# From which probability on an answer is called what.
WORDS = (
    (0.95, "almost certain"),
    (0.80, "very likely"),
    (0.50, "probably"),
    (0.25, "perhaps"),
    (0.00, "a guess"),
)


def headline(answer: Prediction, descriptions: Mapping[str, str]) -> str:
    """The name, its botanical name, how sure the model is, and what else it might be."""
    label, probability = answer.top[0]
    botanical = descriptions.get(label, "")
    rival = doubt(answer)
    return (
        f"<h2>{escape(label)}</h2>"
        + (f"<p class='botanical'>{escape(botanical)}</p>" if botanical else "")
        + f"<p><b>{escape(percent(probability))}</b> · {in_words(probability)}</p>"
        + (
            f"<p class='note'>It hesitates between <em>{escape(label)}</em> "
            f"and <em>{escape(rival)}</em>.</p>"
            if rival
            else ""
        )
    )


def no_flower(answer: Prediction) -> str:
    """What is said first about a photo in which the model sees no flower."""
    probability = 1 - (answer.flower_probability or 0.0)
    return (
        "<h2>No flower here</h2>"
        f"<p><b>{escape(percent(probability))}</b> · {in_words(probability)}</p>"
        "<p class='note'>It knows flowers only, and this photo does not look like one.</p>"
    )


def doubt(answer: Prediction) -> str | None:
    """The second name, if two names stand out together and neither does alone."""
    if len(answer.top) < 2:
        return None
    (_, first), (rival, second) = answer.top[:2]
    return rival if second > first / 2 and first + second > 0.5 else None


def in_words(probability: float) -> str:
    """A probability as people say it."""
    return next(word for least, word in WORDS if probability >= least)


def percent(probability: float) -> str:
    """A probability as a number; nothing is ever said to be certain or impossible."""
    if 0 < probability < 0.01:
        return "<1%"
    if 0.99 < probability < 1:
        return ">99%"
    return f"{100 * probability:.0f}%"
