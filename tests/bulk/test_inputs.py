"""Photos on the command line of --engine ray."""

import os
from collections import Counter
from pathlib import Path

import pyarrow.fs
import pytest

from flower_model.bulk.downloads import read_photo
from flower_model.bulk.inputs import find_units
from flower_model.bulk.storage import RUN_FILE
from flower_model.bulk.units import MAX_PHOTOS, divide
from flower_model.errors import FlowerModelError
from tests.bulk.conftest import read, write_parquet, write_tar
from tests.support.commands import run


@pytest.fixture
def folder(tmp_path):
    """Three photos and a text on two levels."""
    (tmp_path / "album/inner").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "inner/c.png"):
        (tmp_path / "album" / name).write_bytes(b"photo")
    (tmp_path / "album/notes.txt").touch()
    return tmp_path / "album"


def photos_of(*names, skipped=None):
    units = find_units(map(str, names), Counter() if skipped is None else skipped)
    return [photo for unit in units for photo in unit.photos]


def test_folder_is_searched_at_any_depth(folder):
    skipped = Counter()
    found = photos_of(folder, skipped=skipped)
    assert found == [str(folder / name) for name in ("a.jpg", "b.jpg", "inner/c.png")]
    assert skipped == {"not a photo": 1}


def test_glob_matches_files(folder):
    assert photos_of(folder / "*.jpg") == [str(folder / "a.jpg"), str(folder / "b.jpg")]
    assert photos_of(folder / "**/*.png") == [str(folder / "inner/c.png")]


@pytest.mark.parametrize("wrong", ["*.webp", "letters", "letters/*.txt"])
def test_input_without_photos_beside_others_is_named(folder, wrong, monkeypatch):
    (folder / "letters").mkdir()
    (folder / "letters/letter.csv").touch()
    monkeypatch.chdir(folder)
    for names in (("a.jpg", wrong), (wrong, ".")):
        with pytest.raises(FlowerModelError) as error:
            photos_of(*names)
        assert str(error.value).startswith(f"No photos found in '{wrong}': ")


def test_photo_named_twice_is_found_once(folder):
    assert len(photos_of(folder, folder / "a.jpg", folder / "*.jpg")) == 3


def test_photos_take_precedence_over_shards_in_the_same_folder(folder):
    write_parquet(folder / "metadata.parquet", {"label": ["rose"]})
    assert len(photos_of(folder)) == 3


def test_rows_of_a_folder_of_parquet_files_are_divided_at_row_groups(tmp_path):
    for name in ("a", "b"):
        write_parquet(tmp_path / f"{name}.parquet", {"image": [b"x"] * 7000}, 3000)
    units = find_units([str(tmp_path)], Counter())
    assert [(unit.file[-9:], unit.start, unit.stop) for unit in units] == [
        *(("a.parquet", 0, 3000), ("a.parquet", 3000, 7000)),
        *(("b.parquet", 0, 3000), ("b.parquet", 3000, 7000)),
    ]


def test_large_row_group_is_divided(tmp_path):
    write_parquet(tmp_path / "a.parquet", {"path": ["x.jpg"] * 10_000}, 10_000)
    units = find_units([str(tmp_path / "a.parquet")], Counter())
    assert [(unit.start, unit.stop) for unit in units] == [(0, 4096), (4096, 8192), (8192, 10_000)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"label": ["rose"], "image": [{"bytes": b"x", "path": "a.jpg"}]}, "image"),
        ({"photo": ["a.jpg"], "content": [b"x"]}, "content"),
        ({"sha256": [b"y"], "image": [b"x"]}, "image"),
        ({"label": ["rose"], "file_name": ["a.jpg"]}, "file_name"),
    ],
)
def test_column_of_photos_is_found(tmp_path, columns, expected):
    path = write_parquet(tmp_path / "a.parquet", columns)
    assert find_units([str(path)], Counter())[0].column == expected


def test_column_can_be_named(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"thumbnail": [b"x"], "full": [b"y"]})
    assert find_units([str(path)], Counter(), "full")[0].column == "full"
    with pytest.raises(FlowerModelError, match="no column 'fill', only thumbnail, full"):
        find_units([str(path)], Counter(), "fill")


def test_parquet_file_without_photos_is_rejected(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"label": ["rose"]})
    with pytest.raises(FlowerModelError, match="no column of photos or paths, only label"):
        find_units([str(path)], Counter())


def test_file_that_is_no_parquet_is_rejected(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"something else")
    with pytest.raises(FlowerModelError, match=r"a.parquet' can't be read"):
        find_units([str(tmp_path / "a.parquet")], Counter())


def test_names_that_are_not_utf8_cost_no_other_file(tmp_path):
    for name in ("a.parquet", os.fsdecode(b"b\xff.parquet"), os.fsdecode(b"c\xff.txt")):
        write_parquet(tmp_path / "x", {"image": [b"x"]}).rename(tmp_path / name)
    units = find_units([str(tmp_path)], Counter())
    assert [Path(unit.file).name for unit in units] == ["a.parquet", "b\udcff.parquet"]
    assert [source for unit in units for _, source in read(unit)] == [b"x", b"x"]


def test_tar_file_is_one_unit(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x"})
    (unit,) = find_units([str(path)], Counter())
    assert (unit.file, unit.count) == (str(path), 0)


@pytest.mark.parametrize("place", ["path", "uri"])
def test_answers_in_a_subfolder_are_no_photos(tmp_path, request, place):
    write_parquet(tmp_path / "in/a.parquet", {"image": [b"photo"]})
    write_parquet(tmp_path / "in/answers/part-0.parquet", {"photo": ["a.parquet#0"]})
    (tmp_path / "in/answers" / RUN_FILE).write_text("{}")
    name = str(tmp_path / "in")
    if place == "uri":
        name = request.getfixturevalue("s3") + "/in"
        pyarrow.fs.copy_files(str(tmp_path / "in"), name)
    assert [unit.file for unit in find_units([name], Counter())] == [f"{name}/a.parquet"]


def test_links_to_folders_are_not_followed(tmp_path):
    write_parquet(tmp_path / "a.parquet", {"image": [b"photo"]})
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(find_units([str(tmp_path)], Counter())) == 1


def test_unit_has_at_most_4096_photos(tmp_path):
    units = list(divide(["a.jpg"] * 2_000_000))
    assert max(unit.count for unit in units) == MAX_PHOTOS
    assert sum(unit.count for unit in units) == 2_000_000


def test_bucket_is_searched_like_a_folder(folder, s3):
    pyarrow.fs.copy_files(str(folder), f"{s3}/album")
    skipped = Counter()
    expected = [f"{s3}/album/{name}" for name in ("a.jpg", "b.jpg", "inner/c.png")]
    assert photos_of(f"{s3}/album", skipped=skipped) == expected
    assert skipped == {"not a photo": 1}
    assert photos_of(f"{s3}/album/*/*.png") == expected[2:]
    assert photos_of(f"{s3}/album/*.jpg") == expected[:2]
    assert photos_of(f"{s3}/album/*.png") == []
    assert photos_of(f"{s3}/**/*.png") == expected[2:]
    assert photos_of(f"{s3}/album/b.jpg") == expected[1:2]


@pytest.mark.parametrize("place", ["s3://nowhere", "{bucket}/nothing"])
def test_missing_bucket_or_prefix_is_reported(s3, place):
    name = place.format(bucket=s3)
    with pytest.raises(FlowerModelError, match=f"'{name}' does not exist or is empty"):
        find_units([name], Counter())


def test_unknown_kind_of_uri_is_reported():
    with pytest.raises(FlowerModelError, match=r"'what://ever' can't be read: Protocol not known"):
        find_units(["what://ever"], Counter())


def test_options_of_an_s3_server_follow_the_uri(folder, s3, s3_server, monkeypatch):
    pyarrow.fs.copy_files(str(folder), f"{s3}/album")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = f"?scheme=http&endpoint_override={s3_server.removeprefix('http://')}"
    found = photos_of(f"{s3}/album{options}")
    assert found[:1] == [f"{s3}/album/a.jpg{options}"]
    assert [read_photo(photo) for photo in found] == [b"photo"] * 3


def test_dataset_on_the_hub_is_searched(hub, tmp_path):
    files = {"train/a.jpg": b"photo", "README.md": b"# Photos"}
    hub.add_repo("flora/photos", files, repo_type="dataset")
    program = (
        "from collections import Counter; from flower_model.bulk.inputs import find_units; "
        "from flower_model.bulk.downloads import read_photo; "
        "[unit] = find_units(['hf://datasets/flora/photos'], Counter()); "
        "print(*unit.photos, read_photo(unit.photos[0]))"
    )
    result = run("-c", program, env=hub.environment(tmp_path))
    assert result.stdout == "hf://datasets/flora/photos/train/a.jpg b'photo'\n", result.stderr
