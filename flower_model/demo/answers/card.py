"""The answer to one photo as HTML; every label is escaped."""

from collections.abc import Mapping
from html import escape
from urllib.parse import quote_plus

from flower_model.demo.identifier import MIN_SHOWN
from flower_model.plant import PlantPrediction
from flower_model.prediction import NO_FLOWER, UNKNOWN_FLOWER, Prediction

# Lowest probability -> words.
WORDS = (
    (0.95, "almost certain"),
    (0.80, "very likely"),
    (0.50, "probably"),
    (0.25, "perhaps"),
    (0.00, "a guess"),
)
LINKS = {
    "Wikipedia": "https://en.wikipedia.org/w/index.php?search=",
    "GBIF": "https://www.gbif.org/species/search?q=",
    "iNaturalist": "https://www.inaturalist.org/search?q=",
}


def answer_card(prediction: Prediction, descriptions: Mapping[str, str]) -> str:
    """Return the name, probability and alternatives of a prediction.

    Args:
        prediction: The prediction for a photo or a plant.
        descriptions: Label -> botanical name.
    """
    if prediction.is_flower is False:
        return _no_flower(prediction, descriptions)
    if prediction.is_known is False:
        return (
            f"<h2>A flower that the model doesn't know</h2>{_probability(prediction)}"
            "<p class='note'>It looks like a flower, but probably none of those that the model "
            "knows.</p>"
            f"{_candidates('Most similar', prediction, descriptions)}"
        )
    if prediction.sure_genus:
        return (
            f"<h2><i>{escape(prediction.answer)}</i></h2>"
            "<p class='botanical'>a genus; the species is uncertain</p>"
            f"{_probability(prediction)}{_candidates('Which species?', prediction, descriptions)}"
        )
    label = prediction.label
    botanical = descriptions.get(label, "")
    rival = close_second(prediction)
    return (
        f"<h2 data-name='{escape(label)}'>{escape(label)}</h2>"
        + (f"<p class='botanical'>{escape(botanical)}</p>" if botanical else "")
        + _probability(prediction)
        + (f"<p class='note'>It could also be <em>{escape(rival)}</em>.</p>" if rival else "")
        + _links(botanical or label)
        + _candidates("Other candidates", prediction, descriptions, first=1)
    )


def named(prediction: Prediction) -> tuple[str, float]:
    """Return `prediction.answer` with its probability."""
    if prediction.is_flower is False:
        return NO_FLOWER, 1 - (prediction.flower_probability or 0.0)
    if prediction.is_known is False:
        return UNKNOWN_FLOWER, 1 - (prediction.known_probability or 0.0)
    return prediction.sure_genus or prediction.top[0]


def close_second(prediction: Prediction) -> str | None:
    """Return the second label if it is a close rival of the first, otherwise None."""
    if len(prediction.top) < 2:
        return None
    (_, first), (rival, second) = prediction.top[:2]
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


def _no_flower(prediction: Prediction, descriptions: Mapping[str, str]) -> str:
    several = isinstance(prediction, PlantPrediction) and len(prediction.photos) > 1
    subject = "None of the photos looks" if several else "The photo does not look"
    return (
        f"<h2>No flower found</h2>{_probability(prediction)}"
        f"<p class='note'>{subject} like a flower. Try one in which the flower is larger "
        "and in focus.</p>"
        "<details><summary>Show the closest matches</summary>"
        f"{_candidates('If it were a flower', prediction, descriptions)}</details>"
    )


def _probability(prediction: Prediction) -> str:
    _, probability = named(prediction)
    words = f"<b>{escape(percent(probability))}</b> · {in_words(probability)}"
    if not isinstance(prediction, PlantPrediction) or len(prediction.photos) < 2:
        return f"<p class='probability'>{words}</p>"
    notes = {
        i: f"Photo {i + 1} disagrees: {prediction.photos[i].answer}."
        for i in prediction.disagreeing
    }
    notes |= {i: f"Photo {i + 1} shows no flower and is left out." for i in prediction.left_out}
    used = len(prediction.photos) - len({*prediction.left_out, *prediction.copies})
    source = f" · from {used} photo{'s' if used > 1 else ''}"
    return f"<p class='probability'>{words}{source}</p>" + "".join(
        f"<p class='note'>{escape(note)}</p>" for _, note in sorted(notes.items())
    )


def _candidates(
    heading: str, prediction: Prediction, descriptions: Mapping[str, str], *, first: int = 0
) -> str:
    """Return the labels from an index on, and a line about those that are not listed."""
    items = "".join(
        f"<li><button class='candidate' data-name='{escape(label)}' aria-pressed='false'>"
        f"<span>{escape(label)}</span> <b>{escape(percent(probability))}</b>"
        + (f"<i>{escape(botanical)}</i>" if (botanical := descriptions.get(label, "")) else "")
        + f"</button>{_links(botanical or label)}</li>"
        for label, probability in prediction.top[first:]
        if probability >= MIN_SHOWN
    )
    listed = f"<h3>{heading}</h3><ul class='candidates'>{items}</ul>" if items else ""
    rest = 1 - sum(probability for _, probability in prediction.top)
    if prediction.top[-1][1] < MIN_SHOWN:
        listed += "<p class='note'>All other flowers: below 1% each.</p>"
    elif rest > 1e-6:
        listed += f"<p class='note'>All other flowers together: {escape(percent(rest))}.</p>"
    return listed


def _links(name: str) -> str:
    links = "".join(
        f"<a href='{url}{quote_plus(name)}' target='_blank' rel='noopener noreferrer'>{site}</a>"
        for site, url in LINKS.items()
    )
    return f"<p class='links'><button class='copy' data-copy='{escape(name)}'>Copy name</button>{links}</p>"
