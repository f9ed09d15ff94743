"""find_photos: named files and the photos of folders, in a stable order."""

import os

from flower_model.photos.discovery import find_photos


def tree(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found_in(folder):
    return [os.path.relpath(path, folder) for path in find_photos([str(folder)])]


def test_folder_is_searched_recursively_in_sorted_order(tmp_path):
    tree(tmp_path, "b.jpg", "a/z.png", "a/b/y.webp", "c/x.heic", "A.JPG")
    assert found_in(tmp_path) == ["A.JPG", "a/b/y.webp", "a/z.png", "b.jpg", "c/x.heic"]


def test_hidden_files_and_other_files_are_skipped(tmp_path):
    tree(tmp_path, ".a.jpg", ".thumbnails/b.jpg", "c.txt", "jpg", "d.jpg.part", "e.jpg")
    assert found_in(tmp_path) == ["e.jpg"]


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
