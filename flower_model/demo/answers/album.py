"""Answers to many photos as HTML: counts, a gallery, a table and a CSV file; all text is escaped."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from flower_model.demo.answers.cam_layers import data_url
from flower_model.demo.answers.card import named, percent
from flower_model.demo.answers.table import UploadResult
from flower_model.errors import ImageError
from flower_model.prediction import NO_FLOWER, UNKNOWN_FLOWER, Prediction

HEADINGS = ("File", "Name", "Botanical name", "Probability", "Alternatives")


def progress_bar(done: int, total: int) -> str:
    """Return for example "12 of 22" above a bar."""
    return f"<p>{done} of {total}</p><progress max='{total}' value='{done}'></progress>"


def summary_of(rows: Sequence[UploadResult], csv: str) -> str:
    """Return the number of photos by answer, the errors, and a link that downloads the CSV."""
    answers = [row.answer for row in rows if isinstance(row.answer, Prediction)]
    counts = Counter(answer.answer for answer in answers)
    flowers = {each: counts[each] for each in counts if each not in (NO_FLOWER, UNKNOWN_FLOWER)}
    named, kinds = sum(flowers.values()), len(flowers)
    failed = [row for row in rows if isinstance(row.answer, ImageError)]
    text = f"<p><b>{named}</b> {'photo' if named == 1 else 'photos'} identified"
    text += f" as {kinds} {'flower' if kinds == 1 else 'different flowers'}" if kinds else ""
    text += ".</p>"
    items = "".join(
        f"<li>{escape(answer)} <b>{count}</b></li>" for answer, count in counts.most_common()
    )
    text += f"<ul class='counts' aria-label='Photos by name'>{items}</ul>" if items else ""
    if failed:
        errors = "".join(
            f"<li><b>{escape(row.name)}</b>: {escape(str(row.answer))}</li>" for row in failed
        )
        text += f"<p><b>{len(failed)}</b> could not be opened:</p><ul class='errors'>{errors}</ul>"
    return f"<div class='overview'><div class='text'>{text}</div>{_csv_link(csv)}</div>"


def gallery(rows: Sequence[UploadResult]) -> str:
    """Return the photos with their answers below them."""
    items = "".join(
        f"<li><figure><img src='{data_url(row.thumbnail, 'WEBP', quality=75)}' alt='' loading='lazy'>"
        f"<figcaption>{_caption(row.answer)}<span>{escape(row.name)}</span></figcaption></figure></li>"
        for row in rows
        if row.thumbnail and isinstance(row.answer, Prediction)
    )
    return f"<ul class='gallery' aria-label='Photos'>{items}</ul>" if items else ""


def table_of(rows: Sequence[UploadResult], descriptions: Mapping[str, str]) -> str:
    """Return all answers in a table that can be sorted.

    Args:
        rows: Results.
        descriptions: Label -> botanical name.
    """
    head = "".join(f"<th scope='col'><button>{heading}</button></th>" for heading in HEADINGS)
    body = "".join(f"<tr>{_cells(row, descriptions)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _csv_link(text: str) -> str:
    # Inline, so that no file with visitors' file names is stored on the server. Excel recognises
    # UTF-8 by the byte-order mark.
    content = base64.b64encode(("\ufeff" + text).encode()).decode()
    return (
        f"<a class='csv' href='data:text/csv;charset=utf-8;base64,{content}' download='flowers.csv'>"
        "Download as CSV</a>"
    )


def _caption(answer: Prediction) -> str:
    if answer.is_flower is False:
        return NO_FLOWER
    name, probability = named(answer)
    return f"{escape(name)} · {escape(percent(probability))}"


def _cells(row: UploadResult, descriptions: Mapping[str, str]) -> str:
    file = f"<td>{escape(row.name)}</td>"
    if isinstance(row.answer, ImageError):
        return f"{file}<td></td><td></td><td data-value='0'></td><td>{escape(str(row.answer))}</td>"
    name, probability = named(row.answer)
    others = [pair for pair in row.answer.top[:3] if pair[0] != name]
    alternatives = ", ".join(f"{other} {percent(p)}" for other, p in others[:2])
    return (
        f"{file}<td>{escape(name)}</td><td><i>{escape(descriptions.get(name, ''))}</i></td>"
        f"<td data-value='{probability:.6f}'>{escape(percent(probability))}</td>"
        f"<td>{escape(alternatives)}</td>"
    )
