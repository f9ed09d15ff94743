"""A row of answers as a line of CSV or of JSON, and back from a file that may be cut short."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flower_model.errors import ImageError

if TYPE_CHECKING:
    from flower_model.prediction import Prediction

Row = dict[str, Any]

# What every row says of its photo, before the runners-up. A new one needs a place here and in to_row.
COLUMNS = ("photo", "error", "label", "probability", "is_flower", "flower_probability", "model")


def to_row(photo: str, answer: "Prediction | ImageError", model: str) -> Row:
    """COLUMNS and, under "top", the labels and probabilities that `--json` prints too."""
    row: Row = dict.fromkeys(COLUMNS) | {"photo": photo, "model": model, "top": []}
    if isinstance(answer, ImageError):
        return row | {"error": str(answer)}
    top = [{"label": label, "probability": _short(p)} for label, p in answer.top]
    if answer.flower_probability is not None:
        row["is_flower"] = answer.is_flower
        row["flower_probability"] = _short(answer.flower_probability)
    return row | top[0] | {"top": top}


def flat_columns(top_k: int) -> list[str]:
    """COLUMNS, then label_2, probability_2, label_3, …"""
    places = range(2, top_k + 1)
    return [*COLUMNS, *(f"{name}_{place}" for place in places for name in ("label", "probability"))]


def flatten(row: Row, top_k: int) -> dict[str, Any]:
    """The row under `flat_columns`; of an error all labels and probabilities are None."""
    flat = {name: row.get(name) for name in flat_columns(top_k)}
    for place, answer in enumerate(row["top"][1:], start=2):
        flat |= {f"{name}_{place}": value for name, value in answer.items()}
    return flat


def unflatten(flat: dict[str, Any], top_k: int) -> Row:
    """What `flatten` was given."""
    names = [("label", "probability")]
    names += [(f"label_{place}", f"probability_{place}") for place in range(2, top_k + 1)]
    top = [{"label": flat[name], "probability": flat[p]} for name, p in names if flat[name]]
    return {name: flat[name] for name in COLUMNS} | {"top": top}


def to_bytes(text: str) -> bytes:
    r"""UTF-8; a byte of a file name that is none comes as Python and JSON write it, such as \udcff."""
    return text.encode("utf-8", "backslashreplace")


class JsonLines:
    """One JSON object a line."""

    header = b""
    start = b'{"photo": "'  # of every file that isn't empty

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k

    def encode(self, row: Row) -> bytes:
        return to_bytes(json.dumps(row, ensure_ascii=False) + "\n")

    def decode(self, record: bytes) -> Row:
        return json.loads(record)

    def is_whole(self, record: bytes) -> bool:
        return record.endswith(b"\n")


class CommaSeparated:
    """A header and one record a row, of several lines where a file name has several."""

    start = b"photo,error,"

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k
        self.columns = flat_columns(top_k)
        self.header = self._record(self.columns)

    def encode(self, row: Row) -> bytes:
        return self._record(flatten(row, self.top_k).values())

    def decode(self, record: bytes) -> Row:
        [values] = csv.reader(io.StringIO(record.decode("utf-8"), newline=""))
        return unflatten(dict(zip(self.columns, values, strict=True)), self.top_k)

    def is_whole(self, record: bytes) -> bool:
        # Within quotes a line may end; a quote that is meant as one is doubled.
        return record.endswith(b"\n") and record.count(b'"') % 2 == 0

    def _record(self, values: Iterable[Any]) -> bytes:
        text = io.StringIO(newline="")
        # Before Python 3.13 a "\r" is quoted only where it is part of the line's end.
        csv.writer(text, lineterminator="\r\n").writerow(values)
        return to_bytes(text.getvalue().removesuffix("\r\n") + "\n")


def whole_records(lines: Iterable[bytes], form: JsonLines | CommaSeparated) -> Iterator[bytes]:
    """The records of a file up to the first that is cut short."""
    record = b""
    for line in lines:
        record += line
        if form.is_whole(record):
            yield record
            record = b""


def _short(probability: float) -> float:
    return float(f"{probability:.6g}")
