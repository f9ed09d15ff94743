"""ResultsFile: complete rows, each photo once after any interruption, other files untouched."""

import csv
import errno
import json
import os
import resource

import pyarrow.parquet as pq
import pytest

from flower_model import FlowerModelError, ImageError, Prediction
from flower_model.results.results_file import ResultsFile, check_output
from flower_model.results.rows import make_row

ROSE = Prediction(
    (("rose", 0.75), ("tulip", 0.2), ("daisy, white", 0.05)),
    flower_probability=0.9,
    is_flower=True,
    botanical_name="Rosa",
    known_probability=0.8,
    is_known=True,
)
NOTHING = Prediction(ROSE.top, flower_probability=0.01, is_flower=False)
TULIP = Prediction((("tulip", 0.5), ("rose", 0.25), ("daisy, white", 1.5e-7)))
BAD = ImageError("'bad.jpg' is empty: copy or download it again.")
PHOTOS = {
    "a.jpg": ROSE,
    "b, c.jpg": TULIP,
    "bad.jpg": BAD,
    "sky.jpg": NOTHING,
    'quote".jpg': ROSE,
    "two\nlines\r.jpg": TULIP,
    "a\rb.jpg": ROSE,
    "blume\udcff.jpg": ROSE,
    "Blüte.jpg": TULIP,
    "=cmd()|A0.jpg": ROSE,
    "'=cmd()|A0.jpg": TULIP,
    "'rose'.jpg": ROSE,
}
SUFFIXES = [".csv", ".jsonl", ".parquet"]
ESCAPED = {"blume\udcff.jpg": r"blume\udcff.jpg"}  # in CSV and Parquet, which are valid UTF-8
FORMULAS = {name: f"'{name}" for name in PHOTOS if name.lstrip("'").startswith("=")}  # in CSV


def opened(path, model="resnet50-0123", top_k=3):
    return ResultsFile(path, model=model, top_k=top_k)


def write_missing(path, photos=PHOTOS, finish=True, **options):
    """Write the rows that are missing, as the command does, and return their photos."""
    with opened(path, **options) as results:
        missing = [photo for photo in photos if not results.is_done(photo)]
        for photo in missing:
            results.write(photo, photos[photo])
        if finish:
            results.finish()
    return missing


def photos_in(path):
    """Return the file names in a results file as a reader of the format sees them."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [row["photo"] for row in csv.DictReader(file)]
    if path.suffix == ".jsonl":
        return [json.loads(line)["photo"] for line in path.read_text("utf-8").splitlines()]
    return pq.read_table(path)["photo"].to_pylist()


def expected_photos(path, photos=PHOTOS):
    escaped = {".csv": ESCAPED | FORMULAS, ".parquet": ESCAPED, ".jsonl": {}}[path.suffix]
    return [escaped.get(photo, photo) for photo in photos]


def journal_of(path):
    return path if path.suffix == ".jsonl" else path.with_name(f"{path.name}.jsonl")


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"answers{request.param}"


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


# Errors


def test_results_of_another_model_are_rejected(path):
    write_missing(path)
    with pytest.raises(FlowerModelError, match="of another model, resnet50-0123"):
        opened(path, model="resnet50-4567")
    assert photos_in(path) == expected_photos(path)


def test_line_breaks_in_a_model_name_are_removed_from_the_message(path):
    write_missing(path, model="resnet50\nTraceback: no\r\nmodel")
    with pytest.raises(FlowerModelError) as caught:
        opened(path)
    assert len(str(caught.value).splitlines()) == 1


def test_results_with_another_top_k_are_rejected(path):
    write_missing(path)
    with pytest.raises(FlowerModelError, match="started with --top-k 3"):
        opened(path, top_k=2)
    assert photos_in(path) == expected_photos(path)


@pytest.mark.parametrize(
    "content",
    [b"my diary", b"photo,error,note\n", b'{"photo": "a.jpg"}\n', b"\xff\xd8\xff", b"photo\n"],
)
def test_other_files_are_rejected_and_unchanged(path, content):
    path.write_bytes(content)
    with pytest.raises(FlowerModelError, match="holds other data"):
        opened(path)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "content", [b"my diary", b'{"photo": 3}\n', b'{"photo": "a.jpg"}\n', b"[]\n"]
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_other_files_in_the_journals_place_are_rejected_and_unchanged(tmp_path, suffix, content):
    path = tmp_path / f"answers{suffix}"
    journal_of(path).write_bytes(content)
    with pytest.raises(FlowerModelError, match="holds other data"):
        opened(path)
    assert journal_of(path).read_bytes() == content and not path.exists()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_other_file_beside_a_journal_is_rejected_and_unchanged(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    write_missing(path, finish=False)
    path.write_bytes(b"photo,error\n")
    with pytest.raises(FlowerModelError, match="holds other data"):
        opened(path)
    assert path.read_bytes() == b"photo,error\n"


def test_empty_file_is_replaced(path):
    path.touch()
    assert write_missing(path) == list(PHOTOS)


def test_second_process_is_rejected(path):
    with opened(path), pytest.raises(FlowerModelError, match="by another process"):
        opened(path)


def test_folder_as_output_is_rejected(path):
    path.mkdir()
    with pytest.raises(FlowerModelError, match="can't be written"):
        opened(path)
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_left_of_a_run_without_rows(path):
    with opened(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_full_disk_is_reported_and_the_run_can_be_resumed(path):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(FlowerModelError, match="can't be written"):
            write_missing(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert len(write_missing(path)) < len(PHOTOS)
    assert photos_in(path) == expected_photos(path)


def test_unknown_suffix_is_rejected(tmp_path):
    with pytest.raises(FlowerModelError, match="must end in"):
        check_output(tmp_path / "answers.xlsx")


def test_missing_folder_is_rejected(tmp_path):
    with pytest.raises(FlowerModelError, match="does not exist"):
        check_output(tmp_path / "nowhere" / "answers.csv")


@pytest.mark.parametrize("error", [errno.EACCES, errno.ENAMETOOLONG])
def test_folder_that_can_not_be_opened_is_rejected(tmp_path, monkeypatch, error):
    status, folder = os.stat, tmp_path / "private"

    def refuse(path, **options):  # also to root
        if os.fspath(path) == str(folder):
            raise OSError(error, os.strerror(error))
        return status(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(FlowerModelError, match="can't be opened: create it first"):
        check_output(folder / "answers.csv")


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


def test_finished_file_without_rows_is_an_empty_table(path):
    assert write_missing(path, {}) == []
    assert photos_in(path) == [] and list(path.parent.iterdir()) == [path]
    assert write_missing(path, {"a.jpg": ROSE}) == ["a.jpg"]
