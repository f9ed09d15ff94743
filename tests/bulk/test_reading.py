"""Names and sources of the photos of a unit."""

import os

import pyarrow.fs
import pytest

from flower_model.bulk.units import Unit
from flower_model.errors import DataError
from tests.bulk.conftest import read, write_parquet, write_tar
from tests.support.commands import run


def test_photos_keep_their_names_and_are_found_from_the_commands_folder(tmp_path):
    assert read(Unit(photos=("a.jpg",)), tmp_path) == [("a.jpg", str(tmp_path / "a.jpg"))]


def test_folder_that_a_machine_does_not_see_is_no_photos_fault(tmp_path):
    with pytest.raises(DataError, match="does not exist on machine"):
        read(Unit(photos=("album/a.jpg",)), tmp_path)


def test_pipe_in_a_list_of_paths_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    file = write_parquet(tmp_path / "list.parquet", {"path": ["pipe.jpg"]})
    ((_, error),) = read(Unit(file=str(file), column="path", stop=1))
    assert "is a pipe or device" in error


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


def test_key_may_end_like_options(tmp_path, s3):
    names = ("a.jpg", "b.jpg?width=300")
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    pyarrow.fs.copy_files(str(tmp_path), f"{s3}/album")
    photos = tuple(f"{s3}/album/{name}" for name in names)
    assert [source for _, source in read(Unit(photos=photos))] == [b"a.jpg", b"b.jpg?width=300"]


def test_rows_and_members_in_a_bucket_are_read(tmp_path, s3):
    write_parquet(tmp_path / "a.parquet", {"path": ["b.jpg"]})
    write_tar(tmp_path / "a.tar", {"1.jpg": b"x"})
    (tmp_path / "b.jpg").write_bytes(b"photo")
    pyarrow.fs.copy_files(str(tmp_path), f"{s3}/album")
    unit = Unit(file=f"{s3}/album/a.parquet", column="path", stop=1)
    assert read(unit) == [("b.jpg", b"photo")]
    assert read(Unit(file=f"{s3}/album/a.tar")) == [(f"{s3}/album/a.tar#1.jpg", b"x")]


def test_storage_that_goes_down_is_no_photos_fault(tmp_path, s3, monkeypatch):
    monkeypatch.setattr("flower_model.bulk.downloads.ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="can't be read"):
        read(Unit(photos=("s3://unreachable/a.jpg",)))


def test_hub_that_goes_down_is_no_photos_fault(hub, tmp_path):
    hub.add_repo("flora/photos", {"a.jpg": b"photo"}, repo_type="dataset")
    hub.refuse("GET", "flora/photos", status=500, times=1000)
    program = (
        "from flower_model.bulk import downloads; downloads.ATTEMPTS = 1; "
        "print(downloads.read_photo('hf://datasets/flora/photos/a.jpg'))"
    )
    result = run("-c", program, env=hub.environment(tmp_path))
    assert result.stdout == "" and "DataError" in result.stderr, result.stdout
