"""Rows of results: nested in JSON Lines, flat in CSV and Parquet."""

from typing import TYPE_CHECKING, Any

from flower_model.errors import ImageError

if TYPE_CHECKING:
    from flower_model.prediction import Prediction

Row = dict[str, Any]

# The columns before the second-best labels. The answer is the one that the page shows.
COLUMNS = (
    *("photo", "error", "answer", "label", "botanical_name"),
    *("probability", "is_flower", "flower_probability", "is_known", "known_probability", "model"),
)
DIGITS = 6  # of probabilities


def make_row(photo: str, answer: "Prediction | ImageError") -> Row:
    """Return `COLUMNS` and "top", the labels and probabilities; all but the error may be None."""
    row: Row = dict.fromkeys(COLUMNS) | {"photo": photo, "top": []}
    if isinstance(answer, ImageError):
        return row | {"error": str(answer)}
    values: Row = {**answer.to_dict(digits=DIGITS), "answer": answer.answer}
    row |= {name: values[name] for name in row if name in values}
    return row | {"botanical_name": answer.botanical_name or None}  # as it is read back


def flat_columns(top_k: int) -> list[str]:
    """Return `COLUMNS`, then label_2, probability_2, label_3, and so on."""
    return [*COLUMNS, *(name for pair in _pairs(top_k)[1:] for name in pair)]


def flatten(row: Row, top_k: int) -> Row:
    """Return the row under `flat_columns`, with strings that are valid UTF-8."""
    flat = {name: row[name] for name in COLUMNS}
    flat |= dict.fromkeys(flat_columns(top_k)[len(COLUMNS) :])
    for (label, probability), entry in zip(_pairs(top_k), row["top"], strict=False):
        flat |= {label: entry["label"], probability: entry["probability"]}
    return {name: utf8(x) if isinstance(x, str) else x for name, x in flat.items()}


def unflatten(flat: Row) -> Row:
    """Return the nested row of a flat one."""
    top_k = top_k_of(list(flat))
    top = [{"label": flat[label], "probability": flat[p]} for label, p in _pairs(top_k)]
    return {name: flat[name] for name in COLUMNS} | {"top": [x for x in top if x["label"]]}


def top_k_of(columns: list[str]) -> int:
    """Return the number of labels per row for a list of `flat_columns`."""
    return (len(columns) - len(COLUMNS)) // 2 + 1


def utf8(text: str) -> str:
    r"""Escape the surrogates that stand for invalid bytes in file names, as \udcff and the like."""
    return text.encode("utf-8", "backslashreplace").decode()


def _pairs(top_k: int) -> list[tuple[str, str]]:
    more = [(f"label_{place}", f"probability_{place}") for place in range(2, top_k + 1)]
    return [("label", "probability"), *more]
