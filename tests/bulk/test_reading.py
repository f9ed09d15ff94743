"""Names and sources of the photos of a unit."""

import pyarrow.fs
import pytest

from flower_model.bulk.reading import read_unit
from flower_model.bulk.units import Unit
from flower_model.errors import DataError, ImageError
from tests.bulk.conftest import write_parquet, write_tar


def read(unit, folder="/"):
    return [
        (name, str(source) if isinstance(source, ImageError) else source)
        for name, source in read_unit(unit, str(folder))
    ]


def test_photos_keep_their_names_and_are_found_from_the_commands_folder(tmp_path):
    assert read(Unit(photos=("a.jpg",)), tmp_path) == [("a.jpg", str(tmp_path / "a.jpg"))]


def test_folder_that_a_machine_does_not_see_is_no_photos_fault(tmp_path):
    with pytest.raises(DataError, match="does not exist on machine"):
        read(Unit(photos=("album/a.jpg",)), tmp_path)


@pytest.mark.parametrize(("start", "stop"), [(0, 250), (90, 130), (100, 200), (249, 250)])
def test_range_of_parquet_rows_is_named_by_file_and_row(tmp_path, start, stop):
    path = write_parquet(
        tmp_path / "a.parquet", {"image": [b"%d" % row for row in range(250)]}, 100
    )
    unit = Unit(file=str(path), column="image", start=start, stop=stop)
    assert read(unit) == [(f"{path}#{row}", b"%d" % row) for row in range(start, stop)]


def test_images_of_datasets_have_bytes_or_a_path_from_the_files_folder(tmp_path):
    images = [{"bytes": b"x", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]
    path = write_parquet(tmp_path / "a.parquet", {"image": images})
    unit = Unit(file="a.parquet", column="image", stop=3)
    assert read(unit, tmp_path) == [
        ("a.parquet#0", b"x"),
        ("b.jpg", str(tmp_path / "b.jpg")),
        ("a.parquet#2", "Row 2 of 'a.parquet' has no photo."),
    ]
    assert path.exists()


def test_members_of_a_tar_file_are_photos_by_their_suffix(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.json": b"{}", "2.PNG": b"y"})
    assert read(Unit(file=str(path))) == [(f"{path}#1.jpg", b"x"), (f"{path}#2.PNG", b"y")]


@pytest.mark.parametrize("column", ["", "image"])
def test_damaged_file_is_a_row_with_an_error(tmp_path, column):
    path = tmp_path / "damaged"
    path.write_bytes(b"something else" * 100)
    ((name, error),) = read(Unit(file=str(path), column=column, stop=9 if column else 0))
    assert name == str(path) and "is damaged" in error


def test_truncated_tar_file_yields_the_photos_before_the_damage(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x" * 600, "2.jpg": b"y" * 6000})
    path.write_bytes(path.read_bytes()[:4000])
    first, (name, error) = read(Unit(file=str(path)))
    assert first == (f"{path}#1.jpg", b"x" * 600)
    assert name == str(path) and "is damaged" in error


def test_photos_in_a_bucket_are_downloaded(tmp_path, s3):
    odd = "50 % #1 ?.jpg"
    for name in ("a.jpg", odd):
        (tmp_path / name).write_bytes(name.encode())
    pyarrow.fs.copy_files(str(tmp_path), f"{s3}/album")
    names = tuple(f"{s3}/album/{name}" for name in (odd, "gone.jpg", "a.jpg"))
    assert read(Unit(photos=names)) == [
        (names[0], odd.encode()),
        (names[1], f"'{names[1]}' does not exist: check the path."),
        (names[2], b"a.jpg"),
    ]


def test_rows_and_members_in_a_bucket_are_read(tmp_path, s3):
    write_parquet(tmp_path / "a.parquet", {"path": ["b.jpg"]})
    write_tar(tmp_path / "a.tar", {"1.jpg": b"x"})
    (tmp_path / "b.jpg").write_bytes(b"photo")
    pyarrow.fs.copy_files(str(tmp_path), f"{s3}/album")
    unit = Unit(file=f"{s3}/album/a.parquet", column="path", stop=1)
    assert read(unit) == [("b.jpg", b"photo")]
    assert read(Unit(file=f"{s3}/album/a.tar")) == [(f"{s3}/album/a.tar#1.jpg", b"x")]


def test_storage_that_goes_down_is_no_photos_fault(tmp_path, s3, monkeypatch):
    monkeypatch.setattr("flower_model.bulk.storage.ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="can't be read"):
        read(Unit(photos=("s3://unreachable/a.jpg",)))
