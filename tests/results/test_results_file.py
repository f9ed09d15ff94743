"""ResultsFile: complete rows, each photo once after any interruption."""

import csv
import json

import pyarrow.parquet as pq
import pytest

from flower_model import ImageError, Prediction
from flower_model.results.rows import make_row
from tests.results.results_files import (
    BAD,
    PHOTOS,
    ROSE,
    SUFFIXES,
    expected_photos,
    journal_of,
    opened,
    photos_in,
    write_missing,
)

# Content


def test_csv_has_columns_for_each_of_the_top_labels(tmp_path):
    path = tmp_path / "answers.csv"
    write_missing(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    assert rows["a.jpg"] == {
        "photo": "a.jpg",
        "error": "",
        "answer": "rose",
        "label": "rose",
        "botanical_name": "Rosa",
        "probability": "0.75",
        "is_flower": "True",
        "flower_probability": "0.9",
        "is_known": "True",
        "known_probability": "0.8",
        "model": "resnet50-0123",
        "label_2": "tulip",
        "probability_2": "0.2",
        "label_3": "daisy, white",
        "probability_3": "0.05",
    }
    assert rows["bad.jpg"]["error"] == str(BAD) and rows["bad.jpg"]["answer"] == ""
    assert rows["sky.jpg"]["answer"] == "no flower" and rows["sky.jpg"]["label"] == "rose"


def test_jsonl_has_a_list_of_the_top_labels(tmp_path):
    path = tmp_path / "answers.jsonl"
    write_missing(path)
    rows = {row["photo"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())}
    assert rows["a.jpg"]["label"] == "rose" and rows["a.jpg"]["probability"] == 0.75
    assert rows["a.jpg"]["flower_probability"] == 0.9 and rows["a.jpg"]["is_flower"] is True
    assert rows["a.jpg"]["top"][2] == {"label": "daisy, white", "probability": 0.05}
    assert rows["a.jpg"]["error"] is None
    assert rows["bad.jpg"]["error"] == str(BAD) and rows["bad.jpg"]["top"] == []


def test_parquet_has_the_columns_of_csv_with_types(tmp_path):
    path = tmp_path / "answers.parquet"
    write_missing(path)
    rows = {row["photo"]: row for row in pq.read_table(path).to_pylist()}
    assert rows["b, c.jpg"]["label_3"] == "daisy, white"
    assert rows["b, c.jpg"]["probability_3"] == 1.5e-7
    assert rows["a.jpg"]["flower_probability"] == 0.9 and rows["a.jpg"]["is_flower"] is True
    assert rows["b, c.jpg"]["flower_probability"] is None
    assert rows["bad.jpg"]["error"] == str(BAD) and rows["bad.jpg"]["probability"] is None
    assert list(tmp_path.iterdir()) == [path]


def test_any_file_name_is_kept(path):
    write_missing(path)
    assert photos_in(path) == expected_photos(path)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_csv_is_a_formula_and_each_is_read_back(tmp_path, start):
    path, text = tmp_path / "answers.csv", f"{start}HYPERLINK(A1)"
    answer = Prediction(((text, 0.75), (text, 0.2), (text, 0.05)), botanical_name=text)
    write_missing(path, {text: answer, f"{text}.jpg": ImageError(text)}, model=text)
    with path.open(newline="", encoding="utf-8") as file:
        cells = list(csv.reader(file))
    assert not any(cell.startswith(start) for row in cells for cell in row)
    with opened(path, model=text):
        rows = [json.loads(line) for line in journal_of(path).read_text("utf-8").splitlines()]
    assert rows[0] == make_row(text, answer) | {"model": text}
    assert rows[1]["photo"] == f"{text}.jpg" and rows[1]["error"] == str(ImageError(text))


# Resuming


def test_finished_file_is_complete(path):
    write_missing(path)
    whole = photos_in(path)
    assert write_missing(path) == []
    assert photos_in(path) == whole


def test_new_photos_are_added_to_a_finished_file(path):
    first = dict(list(PHOTOS.items())[::2])
    write_missing(path, first)
    assert write_missing(path) == list(PHOTOS)[1::2]
    assert sorted(photos_in(path)) == sorted(expected_photos(path))


def test_rows_of_an_interrupted_run_are_kept(path):
    first = dict(list(PHOTOS.items())[:4])
    write_missing(path, first, finish=False)
    assert write_missing(path) == list(PHOTOS)[4:]
    assert photos_in(path) == expected_photos(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_row_truncated_at_any_byte_is_rewritten(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    journal = journal_of(path)
    write_missing(path, finish=False)
    whole = journal.read_bytes()
    for length in range(len(whole)):
        journal.write_bytes(whole[:length])
        write_missing(path, finish=False)
        assert journal.read_bytes() == whole
    write_missing(path)
    assert photos_in(path) == expected_photos(path)


def test_each_row_counts_for_one_occurrence_of_a_photo(path):
    with opened(path) as results:
        results.write("a.jpg", ROSE)
    with opened(path) as results:
        assert [results.is_done("a.jpg") for _ in range(2)] == [True, False]


def test_rows_and_failures_of_earlier_runs_are_counted(path):
    write_missing(path, finish=False)
    with opened(path) as results:
        assert (results.rows, results.failures) == (len(PHOTOS), 1)
        assert results.errors == [str(BAD)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_kill_before_the_journal_is_deleted_repeats_nothing(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    write_missing(path, finish=False)
    kept = journal_of(path).read_bytes()
    write_missing(path)
    journal_of(path).write_bytes(kept)
    assert write_missing(path) == []
    assert photos_in(path) == expected_photos(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_kill_while_a_finished_file_is_reopened_loses_nothing(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    write_missing(path)
    journal_of(path).touch()
    assert write_missing(path, {"new.jpg": ROSE}) == ["new.jpg"]
    assert photos_in(path) == [*expected_photos(path), "new.jpg"]


def test_values_survive_the_conversion_and_back(path):
    write_missing(path)
    with opened(path):
        rows = [json.loads(line) for line in journal_of(path).read_text("utf-8").splitlines()]
    for row, (photo, answer) in zip(rows, PHOTOS.items(), strict=True):
        expected = make_row(photo, answer) | {"model": "resnet50-0123"}
        assert row == expected | {"photo": row["photo"]}


def test_finished_file_without_rows_is_an_empty_table(path):
    assert write_missing(path, {}) == []
    assert photos_in(path) == [] and list(path.parent.iterdir()) == [path]
    assert write_missing(path, {"a.jpg": ROSE}) == ["a.jpg"]
