"""The folder of answers: each photo once, whatever happens in between."""

import resource
import urllib.request

import pyarrow.parquet as pq
import pytest

from flower_model import FlowerModelError, ImageError, Prediction
from flower_model.bulk.output import OutputFolder
from flower_model.bulk.units import Unit
from flower_model.results.rows import flat_columns, make_row

ROSE = Prediction((("rose", 0.75), ("tulip", 0.25)))
UNITS = [Unit(photos=("a.jpg", "b.jpg")), Unit(photos=("c.jpg", "d\udcff.jpg"))]


@pytest.fixture(params=["path", "uri"])
def output(request, tmp_path):
    if request.param == "path":
        return OutputFolder(str(tmp_path / "answers"))
    return OutputFolder(request.getfixturevalue("s3") + "/answers")


def prepared(output, model="m", top_k=2):
    return output.prepare(model=model, top_k=top_k)


def write(output, unit, answer=ROSE):
    rows = [make_row(photo, answer) | {"model": "m"} for photo in unit.photos]
    output.write(unit, rows, 2)


def photos_of(units):
    return [photo for unit in units for photo in unit.photos]


def test_finished_units_are_left_out(output):
    with prepared(output):
        assert output.without_answered(UNITS) == UNITS
        write(output, UNITS[0])
    with prepared(output):
        assert output.without_answered(UNITS) == UNITS[1:]


def test_photos_that_were_added_are_found_among_those_with_answers(output):
    with prepared(output):
        write(output, UNITS[0])
        write(output, UNITS[1])
        moved = [Unit(photos=("a.jpg", "aa.jpg", "b.jpg")), Unit(photos=("c.jpg", "d\udcff.jpg"))]
        assert photos_of(output.without_answered(moved)) == ["aa.jpg"]


def test_unit_that_is_answered_twice_has_its_answers_once(output):
    with prepared(output):
        write(output, UNITS[0])
        write(output, UNITS[0])
        assert output.count(output.parts()) == (2, 0)


@pytest.mark.parametrize(
    "changed", [{"column": "image", "stop": 4}, {"column": "thumbnail", "stop": 3}]
)
def test_rows_of_a_changed_parquet_file_get_no_second_answers(output, changed):
    answered = Unit(file="a\udcff.parquet", column="image", stop=3)
    rows = [make_row(f"{answered.file}#{row}", ROSE) | {"model": "m"} for row in range(3)]
    with prepared(output):
        output.write(answered, rows, 2)
        others = [Unit(file="b.parquet", column="image", stop=3), *UNITS]
        assert output.without_answered([answered, *others]) == others
        assert output.without_answered(others) == others
        with pytest.raises(FlowerModelError, match="choose another --output"):
            output.without_answered([Unit(file=answered.file, **changed), *others])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            Unit(file="list.parquet", column="path", stop=2),
            Unit(file="list.parquet", column="path", stop=3),
        ),
        (Unit(file="a.tar", size=10_240), Unit(file="a.tar", size=20_480)),
    ],
)
def test_lists_of_paths_and_tar_files_that_have_grown_get_no_second_answers(output, before, after):
    with prepared(output):
        rows = [make_row(photo, ROSE) | {"model": "m"} for photo in ("a.jpg", "b.jpg")]
        output.write(before, rows, 2)
        assert output.without_answered([before]) == []
        with pytest.raises(FlowerModelError, match="has changed"):
            output.without_answered([after])


def test_rows_and_errors_are_counted(output):
    with prepared(output):
        assert output.count(output.parts()) == (0, 0)
        write(output, UNITS[0])
        write(output, UNITS[1], ImageError("'c.jpg' is empty."))
        assert output.count(output.parts()) == (4, 2)


def test_folder_is_one_table_for_readers_of_parquet(output, tmp_path):
    with prepared(output):
        for unit in UNITS:
            write(output, unit)
    table = pq.read_table(output.name)
    assert sorted(table["photo"].to_pylist()) == ["a.jpg", "b.jpg", "c.jpg", "d\\udcff.jpg"]
    assert table.column_names == flat_columns(2)


@pytest.mark.parametrize("other", [{"model": "n"}, {"top_k": 3}])
def test_answers_of_another_model_or_top_k_are_rejected(output, other):
    with prepared(output):
        pass
    with (
        pytest.raises(FlowerModelError, match="choose another --output"),
        prepared(output, **other),
    ):
        pass


def test_folder_with_other_files_is_rejected(tmp_path):
    (tmp_path / "thesis.txt").touch()
    (tmp_path / ".thesis.pdf.x.tmp").touch()  # being written
    output = OutputFolder(str(tmp_path))
    with pytest.raises(FlowerModelError, match="holds other files"), prepared(output):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", ".thesis.pdf.x.tmp"}


def test_second_process_is_rejected(tmp_path):
    first, second = OutputFolder(str(tmp_path)), OutputFolder(str(tmp_path))
    with (
        prepared(first),
        pytest.raises(FlowerModelError, match="being written by another process"),
        prepared(second),
    ):
        pass


def test_file_in_the_folders_place_is_reported(tmp_path):
    (tmp_path / "answers").touch()
    with (
        pytest.raises(FlowerModelError, match="can't be written"),
        prepared(OutputFolder(str(tmp_path / "answers"))),
    ):
        pass


def test_missing_bucket_is_reported(s3):
    with (
        pytest.raises(FlowerModelError, match="'s3://nowhere/answers' can't be written"),
        prepared(OutputFolder("s3://nowhere/answers")),
    ):
        pass


def test_bucket_without_permission_is_reported(s3, s3_server):
    def require_keys(after_requests):
        request = urllib.request.Request(f"{s3_server}/moto-api/reset-auth", after_requests)
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request).close()

    require_keys(b"0")
    try:
        with (
            pytest.raises(FlowerModelError, match=r"can't be (read|written)"),
            prepared(OutputFolder(f"{s3}/answers")),
        ):
            pass
    finally:
        require_keys(b"inf")


def test_full_disk_is_reported_and_leaves_no_part(tmp_path):
    output = OutputFolder(str(tmp_path))
    with prepared(output):
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        try:
            with pytest.raises(FlowerModelError, match="can't be written"):
                write(output, UNITS[0])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert output.without_answered(UNITS) == UNITS
        write(output, UNITS[0])
        assert output.without_answered(UNITS) == UNITS[1:]


def test_leftovers_of_killed_workers_are_deleted(tmp_path):
    (tmp_path / ".part-0.parquet.x.tmp").touch()
    with prepared(OutputFolder(str(tmp_path))):
        assert list(tmp_path.glob(".*.tmp")) == []
