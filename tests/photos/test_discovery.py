"""find_photos: files as they are named, folders with their photos, in an order that does not change."""

import os

from flower_model.photos.discovery import find_photos


def tree(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found_in(folder):
    return [os.path.relpath(path, folder) for path in find_photos([str(folder)])]


def test_a_folder_gives_its_photos_by_name_at_any_depth(tmp_path):
    tree(tmp_path, "b.jpg", "a/z.png", "a/b/y.webp", "c/x.heic", "A.JPG")
    assert found_in(tmp_path) == ["A.JPG", "a/b/y.webp", "a/z.png", "b.jpg", "c/x.heic"]


def test_hidden_files_and_what_is_no_photo_are_left_out(tmp_path):
    tree(tmp_path, ".a.jpg", ".thumbnails/b.jpg", "c.txt", "jpg", "d.jpg.part", "e.jpg")
    assert found_in(tmp_path) == ["e.jpg"]


def test_links_to_photos_are_photos_and_links_to_folders_are_not_followed(tmp_path):
    tree(tmp_path, "a/photo.jpg")
    (tmp_path / "b.jpg").symlink_to("a/photo.jpg")
    (tmp_path / "c").symlink_to(tmp_path)
    (tmp_path / "d.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "e.jpg")
    assert found_in(tmp_path) == ["a/photo.jpg", "b.jpg"]


def test_files_are_given_as_named_whatever_their_name(tmp_path):
    tree(tmp_path, "a.jpg")
    names = ["nowhere", str(tmp_path), ".hidden", "nowhere"]
    assert list(find_photos(names)) == ["nowhere", str(tmp_path / "a.jpg"), ".hidden", "nowhere"]


def test_a_link_named_as_folder_is_followed(tmp_path):
    tree(tmp_path, "a/b.jpg")
    (tmp_path / "link").symlink_to("a")
    assert found_in(tmp_path / "link") == ["b.jpg"]


def test_a_folder_is_listed_only_when_its_turn_comes(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    photos = find_photos([str(tmp_path)])
    next(photos)
    (tmp_path / "b/2.jpg").touch()
    assert len(list(photos)) == 2


def test_a_folder_that_is_gone_is_given_as_a_photo_to_be_told_of(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    photos = find_photos([str(tmp_path)])
    next(photos)
    (tmp_path / "b/1.jpg").unlink()
    (tmp_path / "b").rmdir()
    assert list(photos) == [str(tmp_path / "b")]
