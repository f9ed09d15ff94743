"""Files that ResultsFile refuses, unchanged, and runs that fail."""

import errno
import os
import resource

import pytest

from flower_model import FlowerModelError
from flower_model.results.results_file import check_output
from tests.results.results_files import (
    PHOTOS,
    expected_photos,
    journal_of,
    opened,
    photos_in,
    write_missing,
)


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
