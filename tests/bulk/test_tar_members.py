"""Members of tar files: a bad one costs no other, and none is missing."""

import os
import tarfile

import pytest

from flower_model.bulk.units import Unit
from tests.bulk.conftest import read, write_tar


def test_members_of_a_tar_file_are_photos_by_their_suffix(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.json": b"{}", "2.PNG": b"y"})
    assert read(Unit(file=str(path))) == [(f"{path}#1.jpg", b"x"), (f"{path}#2.PNG", b"y")]


def test_hidden_twins_of_macos_are_no_photos(tmp_path):
    members = {"./._1.jpg": b"twin", "./1.jpg": b"x", "inner/._2.jpg": b"twin", "inner/2.jpg": b"y"}
    path = write_tar(tmp_path / "a.tar", members)
    assert read(Unit(file=str(path))) == [(f"{path}#./1.jpg", b"x"), (f"{path}#inner/2.jpg", b"y")]


def test_file_that_is_no_tar_file_is_a_row_with_an_error(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"something else" * 100)
    ((name, error),) = read(Unit(file=str(path)))
    assert name == str(path) and "is damaged" in error


def test_truncated_tar_file_yields_the_photos_before_the_damage(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x" * 600, "2.jpg": b"y" * 6000})
    path.write_bytes(path.read_bytes()[:4000])
    first, (name, error) = read(Unit(file=str(path)))
    assert first == (f"{path}#1.jpg", b"x" * 600)
    assert name == str(path) and "is damaged" in error


def test_tar_file_that_ends_between_members_is_an_error(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x" * 600, "2.jpg": b"y" * 600})
    path.write_bytes(path.read_bytes()[:1536])
    assert read(Unit(file=str(path))) == [
        (f"{path}#1.jpg", b"x" * 600),
        (str(path), f"'{path}' is damaged (it ends early)."),
    ]


@pytest.mark.parametrize(("block", "rest"), [(0, "23"), (2, "13"), (4, "13"), (6, "12")])
def test_damaged_header_costs_no_other_member(tmp_path, block, rest):
    names = {"1": "1.jpg", "2": "long/" * 30 + "2.jpg", "3": "3.jpg"}  # the second has two headers
    members = {name: number.encode() for number, name in names.items()}
    path = write_tar(tmp_path / "a.tar", members, tarfile.PAX_FORMAT)
    content = bytearray(path.read_bytes())
    content[block * 512 : block * 512 + 512] = b"\xff" * 512
    path.write_bytes(content)
    *photos, (name, error) = read(Unit(file=str(path)))
    assert photos == [(f"{path}#{names[number]}", number.encode()) for number in rest]
    assert name == str(path) and "is damaged" in error


def test_appended_tar_files_are_read(tmp_path):
    first = write_tar(tmp_path / "1.tar", {"1.jpg": b"x"})
    second = write_tar(tmp_path / "2.tar", {"2.jpg": b"y"})
    (tmp_path / "a.tar").write_bytes(first.read_bytes() + second.read_bytes())
    assert [source for _, source in read(Unit(file=str(tmp_path / "a.tar")))] == [b"x", b"y"]


def test_hard_link_in_a_tar_file_is_an_error(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"x")
    os.link(tmp_path / "1.jpg", tmp_path / "2.jpg")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("1.jpg", "2.jpg"):
            tar.add(tmp_path / name, name)
    path = tmp_path / "a.tar"
    first, (name, error) = read(Unit(file=str(path)))
    assert (first, name) == ((f"{path}#1.jpg", b"x"), f"{path}#2.jpg")
    assert "hard link" in error
