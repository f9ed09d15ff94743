"""AnswerFile: whole rows only, none lost, none twice, and no file harmed that is another's."""

import csv
import json
import resource

import pyarrow.parquet as pq
import pytest

from flower_model import FlowerModelError, ImageError, Prediction
from flower_model.results.results_file import AnswerFile, check_output

ROSE = Prediction(
    (("rose", 0.75), ("tulip", 0.2), ("daisy, white", 0.05)), flower_probability=0.9, is_flower=True
)
TULIP = Prediction((("tulip", 0.5), ("rose", 0.25), ("daisy, white", 1.5e-7)))
BAD = ImageError("'bad.jpg' is empty: copy or download it again.")
PHOTOS = {
    "a.jpg": ROSE,
    "b, c.jpg": TULIP,
    "bad.jpg": BAD,
    'quote".jpg': ROSE,
    "two\nlines\r.jpg": TULIP,
    "a\rb.jpg": ROSE,
    "blume\udcff.jpg": ROSE,
    "Blüte.jpg": TULIP,
}
SUFFIXES = [".csv", ".jsonl", ".parquet"]
AS_TEXT = {"blume\udcff.jpg": r"blume\udcff.jpg"}  # how CSV and Parquet, which are UTF-8, say it


def opened(path, model="resnet50-0123", top_k=3):
    return AnswerFile(path, model=model, top_k=top_k)


def write_missing(path, photos=PHOTOS, finish=True, **begun_with):
    """What a run does; gives the photos that it had to answer for."""
    with opened(path, **begun_with) as answers:
        missing = [photo for photo in photos if not answers.holds(photo)]
        for photo in missing:
            answers.write(photo, photos[photo])
        if finish:
            answers.finish()
    return missing


def photos_in(path):
    """Names in the file's rows, as a reader of the format gets them."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [row["photo"] for row in csv.DictReader(file)]
    if path.suffix == ".jsonl":
        return [json.loads(line)["photo"] for line in path.read_text("utf-8").splitlines()]
    return pq.read_table(path)["photo"].to_pylist()


def expected_photos(path, photos=PHOTOS):
    return [p if path.suffix == ".jsonl" else AS_TEXT.get(p, p) for p in photos]


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"answers{request.param}"


# What it holds


def test_csv_has_a_column_for_each_of_the_top_labels(tmp_path):
    path = tmp_path / "answers.csv"
    write_missing(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    assert rows["a.jpg"] == {
        "photo": "a.jpg",
        "error": "",
        "label": "rose",
        "probability": "0.75",
        "is_flower": "True",
        "flower_probability": "0.9",
        "model": "resnet50-0123",
        "label_2": "tulip",
        "probability_2": "0.2",
        "label_3": "daisy, white",
        "probability_3": "0.05",
    }
    assert rows["bad.jpg"]["error"] == str(BAD) and rows["bad.jpg"]["label"] == ""


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


# How it goes on


def test_nothing_is_missing_from_a_finished_file(path):
    write_missing(path)
    whole = photos_in(path)
    assert write_missing(path) == []
    assert photos_in(path) == whole


def test_new_photos_are_added_to_a_finished_file(path):
    first = dict(list(PHOTOS.items())[::2])
    write_missing(path, first)
    assert write_missing(path) == list(PHOTOS)[1::2]
    assert sorted(photos_in(path)) == sorted(expected_photos(path))


def test_what_a_stopped_run_wrote_is_kept(path):
    first = dict(list(PHOTOS.items())[:4])
    write_missing(path, first, finish=False)
    assert write_missing(path) == list(PHOTOS)[4:]
    assert photos_in(path) == expected_photos(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_row_cut_short_anywhere_is_made_anew(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    growing = tmp_path / "answers.parquet.jsonl" if suffix == ".parquet" else path
    write_missing(path, finish=False)
    whole = growing.read_bytes()
    for length in range(len(whole)):
        growing.write_bytes(whole[:length])
        write_missing(path, finish=False)
        assert growing.read_bytes() == whole
    write_missing(path)
    assert photos_in(path) == expected_photos(path)


def test_a_photo_named_twice_has_two_rows(path):
    with opened(path) as answers:
        answers.write("a.jpg", ROSE)
    with opened(path) as answers:
        assert [answers.holds("a.jpg") for _ in range(2)] == [True, False]


def test_rows_and_failures_of_earlier_runs_count(path):
    write_missing(path, finish=False)
    with opened(path) as answers:
        assert (answers.rows, answers.failures) == (len(PHOTOS), 1)
        assert answers.errors == [str(BAD)]


def test_a_kill_between_parquet_and_its_journal_repeats_nothing(tmp_path):
    path, journal = tmp_path / "answers.parquet", tmp_path / "answers.parquet.jsonl"
    write_missing(path, finish=False)
    kept = journal.read_bytes()
    write_missing(path)
    journal.write_bytes(kept)  # as if it had not come to removing it
    assert write_missing(path) == []
    assert photos_in(path) == expected_photos(path)


# What it refuses


def test_another_model_is_refused(path):
    write_missing(path)
    with pytest.raises(FlowerModelError, match="begun with another model, resnet50-0123"):
        opened(path, model="resnet50-4567")
    assert photos_in(path) == expected_photos(path)


def test_a_model_named_in_several_lines_is_refused_in_one(path):
    write_missing(path, model="resnet50\nTraceback: no\r\nmodel")
    with pytest.raises(FlowerModelError) as caught:
        opened(path)
    assert len(str(caught.value).splitlines()) == 1


def test_another_top_k_is_refused(path):
    write_missing(path)
    with pytest.raises(FlowerModelError, match="begun with --top-k 3"):
        opened(path, top_k=2)
    assert photos_in(path) == expected_photos(path)


@pytest.mark.parametrize(
    "content",
    [b"my diary", b"photo,error,note\n", b'{"photo": "a.jpg"}\n', b"\xff\xd8\xff", b"photo\n"],
)
def test_a_file_of_something_else_is_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(FlowerModelError, match="holds something else"):
        opened(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_begun(tmp_path):
    path = tmp_path / "answers.csv"
    path.touch()
    assert write_missing(path) == list(PHOTOS)


def test_two_runs_do_not_write_one_file(path):
    with opened(path), pytest.raises(FlowerModelError, match="by another run"):
        opened(path)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "answers.csv").mkdir()
    with pytest.raises(FlowerModelError, match="can't be written"):
        opened(tmp_path / "answers.csv")


def test_a_disk_that_becomes_full_is_told_and_later_gone_on_with(tmp_path):
    path = tmp_path / "answers.jsonl"
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(FlowerModelError, match="can't be written"):
            write_missing(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert len(write_missing(path)) < len(PHOTOS)
    assert photos_in(path) == expected_photos(path)


def test_a_suffix_that_tells_no_format_is_refused(tmp_path):
    with pytest.raises(FlowerModelError, match="must end in"):
        check_output(tmp_path / "answers.xlsx")


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FlowerModelError, match="There is no folder"):
        check_output(tmp_path / "nowhere" / "answers.csv")
