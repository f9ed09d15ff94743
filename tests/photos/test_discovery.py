"""find_photos: named files and the photos of folders, in a stable order."""

import errno
import io
import os
from collections import Counter

import pillow_heif
import pytest
from PIL import Image

from flower_model.photos.decode import open_image
from flower_model.photos.discovery import describe_skipped, find_photos

pillow_heif.register_heif_opener()  # to write HEIC files here


def tree(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found_in(folder):
    return [os.path.relpath(path, folder) for path in find_photos([str(folder)])]


def test_folder_is_searched_recursively_in_sorted_order(tmp_path):
    tree(tmp_path, "b.jpg", "a/z.png", "a/b/y.webp", "c/x.heic", "A.JPG")
    assert found_in(tmp_path) == ["A.JPG", "a/b/y.webp", "a/z.png", "b.jpg", "c/x.heic"]


FORMATS = ["JPEG", "MPO", "PNG", "GIF", "BMP", "PPM", "WEBP", "AVIF", "TIFF", "HEIF"]
NAMES = ["IMG_0001", "rose.jpg.1", "rose.JPG_large", "rose.jpg!d", "rose.jfif", "rose.txt", "花"]


def encoded(kind: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (32, 32)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_photos_are_found_under_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(encoded("JPEG"))
    assert found_in(tmp_path) == [name]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_supported_format_is_found_without_a_suffix(tmp_path, kind):
    (tmp_path / "photo").write_bytes(encoded(kind))
    open_image(tmp_path / "photo")
    assert found_in(tmp_path) == ["photo"]


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_netpbm_files_of_every_kind_are_found_without_a_suffix(tmp_path, mode):
    (tmp_path / "photo").write_bytes(encoded("PPM", mode))
    assert found_in(tmp_path) == ["photo"]


OTHERS = {
    "empty": b"",
    "text": b"notes",
    "text like a bitmap": b"BM is short for bitmap, which is a format of Windows, I think.",
    "text like a pixmap": b"P5 is the fifth page. P6 is the sixth page.",
    "zip": b"PK\3\4" + bytes(40),
    "pdf": b"%PDF-1.7",
    "movie": b"\0\0\0\x20ftypisom" + bytes(40),
    "wave": b"RIFF\0\0\0\0WAVEfmt " + bytes(40),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "html": b"<!DOCTYPE html><img src='rose.jpg'>",
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_other_files_are_skipped_and_counted(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    skipped = Counter()
    assert list(find_photos([str(tmp_path)], skipped)) == []
    assert skipped == {"not a photo": 1}


def test_damaged_files_with_a_photos_suffix_are_found_to_be_reported(tmp_path):
    tree(tmp_path, "a.jpg", "b.PNG", "c.pnm", "d.jfif")
    assert found_in(tmp_path) == ["a.jpg", "b.PNG", "c.pnm", "d.jfif"]


def test_everything_skipped_is_counted(tmp_path):
    tree(tmp_path, ".a.jpg", ".thumbnails/b.jpg", "c.txt", "jpg", "inner/.DS_Store", "e.jpg")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    skipped = Counter()
    assert [os.path.basename(path) for path in find_photos([str(tmp_path)], skipped)] == ["e.jpg"]
    assert skipped == {"hidden": 3, "not a photo": 3, "link to a folder": 1}
    assert describe_skipped(Counter({"not a photo": 12, "hidden": 1})) == (
        "Skipped in folders: not a photo (12), hidden (1)."
    )


def test_links_to_photos_are_followed_but_links_to_folders_are_not(tmp_path):
    tree(tmp_path, "a/photo.jpg")
    (tmp_path / "b.jpg").symlink_to("a/photo.jpg")
    (tmp_path / "c").symlink_to(tmp_path)
    (tmp_path / "d.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "e.jpg")
    assert found_in(tmp_path) == ["a/photo.jpg", "b.jpg"]


def test_named_files_are_yielded_unchecked(tmp_path):
    tree(tmp_path, "a.jpg")
    names = ["nowhere", str(tmp_path), ".hidden", "nowhere"]
    assert list(find_photos(names)) == ["nowhere", str(tmp_path / "a.jpg"), ".hidden", "nowhere"]


def test_link_to_a_folder_is_followed_when_named(tmp_path):
    tree(tmp_path, "a/b.jpg")
    (tmp_path / "link").symlink_to("a")
    assert found_in(tmp_path / "link") == ["b.jpg"]


def test_folders_are_listed_lazily(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    photos = find_photos([str(tmp_path)])
    next(photos)
    (tmp_path / "b/2.jpg").touch()
    assert len(list(photos)) == 2


def test_folder_that_vanished_is_yielded_so_that_it_is_reported(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    photos = find_photos([str(tmp_path)])
    next(photos)
    (tmp_path / "b/1.jpg").unlink()
    (tmp_path / "b").rmdir()
    assert list(photos) == [str(tmp_path / "b")]


def test_photos_in_a_folder_that_may_not_be_entered_are_found_to_be_reported(tmp_path, monkeypatch):
    tree(tmp_path, "a.jpg", "notes.txt")
    status = os.stat

    def refuse(path, **options):  # as for a folder with the mode rw-r--r--, also to root
        if os.fspath(path) in (f"{tmp_path}/a.jpg", f"{tmp_path}/notes.txt"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return status(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert found_in(tmp_path) == ["a.jpg"]
