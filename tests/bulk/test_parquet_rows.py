"""Rows of Parquet files: a bad one costs no other, and none is missing."""

import os

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from flower_model.bulk.reading import read_unit
from flower_model.bulk.units import Unit
from flower_model.errors import DataError
from tests.bulk.conftest import read, write_parquet


def strings(*contents):
    """Return a column of strings of any bytes, valid or not."""
    return pa.array(contents, pa.binary()).view(pa.string())


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


def test_path_that_is_not_utf8_costs_no_other_row(tmp_path):
    names = [b"%d.jpg" % row for row in range(100)]
    names[17] = b"blume\xff.jpg"
    path = write_parquet(tmp_path / "a.parquet", {"path": strings(*names)})
    rows = read(Unit(file=str(path), column="path", stop=100))
    place, error = rows.pop(17)
    assert place == f"{path}#17" and error.startswith(f"Row 17 of '{path}' can't be read ('utf-8'")
    others = [row for row in range(100) if row != 17]
    assert rows == [(f"{row}.jpg", str(tmp_path / f"{row}.jpg")) for row in others]


def test_path_beside_the_content_may_be_no_utf8(tmp_path):
    image = pa.StructArray.from_arrays(
        [pa.array([b"x", b"y"]), strings(b"blume\xff.jpg", b"b.jpg")], ["bytes", "path"]
    )
    path = write_parquet(tmp_path / "a.parquet", {"image": image})
    rows = read(Unit(file=str(path), column="image", stop=2))
    assert rows == [(f"{path}#0", b"x"), (f"{path}#1", b"y")]


@pytest.mark.parametrize(
    "uri",
    [
        *("foo://x", "s3:///x", "s3://a b/x.jpg", "gs://", "https://127.0.0.1:9/x.jpg"),
        *("github://x.jpg", "zip://x.jpg", "hf://x", "hf://", "file://\0", "file:///" + "x" * 5000),
    ],
)
def test_uri_that_can_not_be_opened_costs_no_other_row(tmp_path, monkeypatch, uri):
    monkeypatch.setattr("flower_model.bulk.downloads.ATTEMPTS", 1)
    path = write_parquet(tmp_path / "a.parquet", {"path": ["a.jpg", uri, "c.jpg"]})
    first, (name, error), last = read(Unit(file=str(path), column="path", stop=3))
    assert (first, last) == (("a.jpg", str(tmp_path / "a.jpg")), ("c.jpg", str(tmp_path / "c.jpg")))
    assert name == uri and "can't be read" in error and len(error) <= 300


@pytest.mark.parametrize("key", ["b//c.jpg", "../../b.jpg", "b?width=3", "b" * 2000, "b\0.jpg"])
def test_key_that_a_bucket_rejects_costs_no_other_row(tmp_path, s3, key):
    write_parquet(tmp_path / "a.parquet", {"path": ["a.jpg", key, "a.jpg"]})
    (tmp_path / "a.jpg").write_bytes(b"photo")
    pyarrow.fs.copy_files(str(tmp_path), f"{s3}/album")
    first, (name, error), last = read(Unit(file=f"{s3}/album/a.parquet", column="path", stop=3))
    assert first == last == ("a.jpg", b"photo")
    assert name == key and ("too long" in error if len(key) > 1024 else key[:8] in error)


def test_storage_of_a_row_that_does_not_respond_is_no_rows_fault(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"path": ["ftp://127.0.0.1:9/a.jpg"]})
    with pytest.raises(DataError, match="can't be read: Connection refused"):
        read(Unit(file=str(path), column="path", stop=1))


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_damaged_row_group_costs_no_rows_of_others(tmp_path, compression):
    content = [b"%06d" % row * 1000 for row in range(300)]
    path = write_parquet(tmp_path / "a.parquet", {"image": content}, compression=compression)
    whole = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    whole[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(whole)
    rows = read(Unit(file=str(path), column="image", start=50, stop=250))
    assert [name for name, _ in rows] == [f"{path}#{row}" for row in range(50, 250)]
    assert [source for _, source in rows[:50] + rows[150:]] == content[50:100] + content[200:250]
    assert all(f"'{path}' is damaged" in error for _, error in rows[50:150])


@pytest.mark.slow
def test_storage_that_fails_within_a_parquet_file_is_no_rows_fault(tmp_path, s3_to_stop):
    bucket, server = s3_to_stop
    content = [os.urandom(1_000_000) for _ in range(8)]
    write_parquet(tmp_path / "a.parquet", {"image": content}, 2)
    pyarrow.fs.copy_files(str(tmp_path), f"{bucket}/album")
    unit = Unit(file=f"{bucket}/album/a.parquet", column="image", stop=8)
    rows = read_unit(unit, "/")
    assert next(rows) == (f"{unit.file}#0", content[0])
    server.stop()
    with pytest.raises(DataError, match="can't be read"):
        list(rows)


def test_rows_that_a_file_has_no_more_are_errors(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"image": [b"x"] * 120}, 50)
    rows = read(Unit(file=str(path), column="image", start=110, stop=130))
    assert [name for name, _ in rows] == [f"{path}#{row}" for row in range(110, 130)]
    assert [source for _, source in rows[:10]] == [b"x"] * 10
    assert all("ends early" in error for _, error in rows[10:])


def test_rows_of_a_file_that_is_no_parquet_are_errors(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"something else" * 100)
    rows = read(Unit(file=str(path), column="image", start=4, stop=9))
    assert [name for name, _ in rows] == [f"{path}#{row}" for row in range(4, 9)]
    assert all("is damaged" in error for _, error in rows)
