"""Training folders as users have them: split names, nesting, stray files and names in any script."""

import os
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from flower_model.errors import DataError
from tests.support.drawn import COLOURS, draw_dataset, draw_photo
from training.data.folders import Photo, PhotoFolder, clean_label, read_photo_folder
from training.data.sources import gather
from training.recipe import Data


def counts(folder: PhotoFolder) -> dict[str, Counter[str]]:
    return {split: Counter(p.label for p in photos) for split, photos in folder.splits.items()}


def each(number: int) -> Counter[str]:
    return Counter(dict.fromkeys(COLOURS, number))


def rejection(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        read_photo_folder(folder)
    assert len(str(error.value)) <= 300
    return str(error.value)


def train_and_val(folder: Path) -> tuple[list[Photo], list[Photo]]:
    return gather(Data(train=(f"{folder}:train",), val=(f"{folder}:val",)), folder.parent)


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "valid", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "VAL", "TEST"),
        ("train", "dev", "eval"),
        ("seg_train", "seg_val", "seg_test"),
        ("Train Images", "Validation Images", "Test Images"),
    ],
)
def test_split_folders_are_recognised_by_name(tmp_path, train, val, test):
    for number, name in enumerate((train, val, test), start=1):
        draw_dataset(tmp_path / name, number, offset=100 * number)
    found = counts(read_photo_folder(tmp_path))
    assert found == {"train": each(1), "val": each(2), "test": each(3)}


@pytest.mark.parametrize("names", [["train"], ["Training", "Testing"], ["train", "val"]])
def test_without_validation_photos_part_of_train_is_held_out(tmp_path, names):
    for number, name in enumerate(names[:2]):
        if name == "val":
            (tmp_path / "set" / name).mkdir()  # empty
        else:
            draw_dataset(tmp_path / "set" / name, 10, offset=100 * number)
    train, val = train_and_val(tmp_path / "set")
    assert (len(train), len(val)) == (24, 6)
    assert {photo.path.parts[-3] for photo in train + val} == {names[0]}


def test_classes_may_have_the_names_of_splits(tmp_path):
    folder = draw_dataset(tmp_path / "toys", 2)
    (folder / "red disc").rename(folder / "train")
    (folder / "blue disc").rename(folder / "test tube")
    assert set(counts(read_photo_folder(folder))[""]) == {"train", "test tube", "yellow disc"}


@pytest.mark.parametrize("path", ["flowers", "flowers/flowers", "archive/data/flowers"])
def test_class_folders_are_found_below_wrapping_folders(tmp_path, path):
    draw_dataset(tmp_path / "set" / path, 2)
    (tmp_path / "set" / "__MACOSX").mkdir()
    (tmp_path / "set" / "read me.txt").write_text("thank you")
    folder = read_photo_folder(tmp_path / "set")
    assert counts(folder) == {"": each(2)}
    assert any("read me.txt" in note for note in folder.notes)


@pytest.mark.parametrize("path", ["{}/{}", "data/{}/{}", "{}/images"])
def test_split_folders_are_found_below_and_above_wrapping_folders(tmp_path, path):
    for number, name in enumerate(("train", "valid"), start=1):
        draw_dataset(tmp_path / path.format(name, name), number, offset=100 * number)
    assert counts(read_photo_folder(tmp_path)) == {"train": each(1), "val": each(2)}


def test_splits_inside_class_folders_are_recognised(tmp_path):
    for split, number in {"train": 3, "Validation": 2, "testing": 1}.items():
        draw_dataset(tmp_path / "photos", number)
        for label in COLOURS:
            os.renames(tmp_path / "photos" / label, tmp_path / "data" / label / split)
    expected = {"train": each(3), "val": each(2), "test": each(1)}
    assert counts(read_photo_folder(tmp_path / "data")) == expected


def test_class_folders_with_equal_subfolders_are_pointed_out(tmp_path):
    for style in ("colour", "grey"):
        draw_dataset(tmp_path / style, 2)
    notes = read_photo_folder(tmp_path).notes
    assert any("same subfolders (blue disc, red disc, yellow disc)" in note for note in notes)


def test_second_copy_of_the_class_folders_is_left_out(tmp_path):
    folder = draw_dataset(tmp_path / "flowers", 2)
    draw_dataset(folder / "flowers", 2)
    found = read_photo_folder(folder)
    assert counts(found) == {"": each(2)}
    assert any("a copy of the class folders" in note and "6 files" in note for note in found.notes)


def test_photos_in_subfolders_belong_to_their_class(tmp_path):
    folder = draw_dataset(tmp_path / "flowers", 9)
    for label in COLOURS:
        for number, place in enumerate(("garden", "garden/close", "2023/May")):
            target = folder / label / place
            target.mkdir(parents=True, exist_ok=True)
            for photo in sorted((folder / label).glob("*.png"))[: number + 1]:
                photo.rename(target / photo.name)
    found = read_photo_folder(folder)
    assert counts(found) == {"": each(9)}
    assert any("subfolders" in note and "18 files" in note for note in found.notes)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["1.jpg", "2.JPG"], "contains 2 photos and no class folders"),
        (["train/1.jpg", "train/2.jpg"], "contains 2 photos and no class folders"),
        (["train/1.png", "test/2.png"], "contains 1 photo and no class folders"),
        (["val/1.jpeg", "test/2.jpeg"], "contains 2 photos and no class folders"),
        (["flowers.zip"], "contains 1 file (flowers.zip) and no class folders"),
        ([], "contains no files and no class folders"),
    ],
)
def test_folder_without_class_folders_is_rejected_with_what_it_contains(tmp_path, files, expected):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8")
    message = rejection(tmp_path)
    assert expected in message and "in a folder named after the class" in message


@pytest.mark.parametrize("kind", ["missing", "file", "empty class"])
def test_unusable_data_folder_is_rejected_with_a_reason(tmp_path, kind):
    folder = tmp_path / "set"
    if kind == "file":
        folder.write_bytes(b"PK")
    elif kind == "empty class":
        draw_dataset(folder, 1)
        (folder / "tulip").mkdir()
    expected = {"missing": "doesn't exist", "file": "is a file", "empty class": "tulip' is empty"}
    assert expected[kind] in rejection(folder)


def test_unlabelled_test_photos_are_left_out(tmp_path):
    draw_dataset(tmp_path / "train", 2)
    (tmp_path / "test").mkdir()
    draw_photo("gold", 1).save(tmp_path / "test" / "1.png")
    found = read_photo_folder(tmp_path)
    assert set(found.splits) == {"train"}
    assert any("'test' has no class folders" in note and "1 file" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("notes.txt", "not in a class folder"),
        ("cover.jpg", "not in a class folder"),
        ("photos.tar", "not in a class folder"),
        ("red disc/.hidden.jpg", "hidden"),
        ("annotations/1.xml", "not photos"),
    ],
)
def test_files_that_are_left_out_are_named(tmp_path, name, reason):
    folder = draw_dataset(tmp_path / "set", 2)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    found = read_photo_folder(folder)
    assert counts(found) == {"": each(2)}
    assert found.notes == [f"Left out ({reason}): 1 file ({Path(name).name})."]


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "__MACOSX"])
def test_system_files_are_ignored(tmp_path, name):
    folder = draw_dataset(tmp_path / "set", 2)
    (folder / "red disc" / name).write_bytes(b"x")
    assert counts(read_photo_folder(folder)) == {"": each(2)}


def test_photos_without_an_image_suffix_are_photos(tmp_path):
    folder = draw_dataset(tmp_path / "set", 3)
    for number, suffix in enumerate(("", ".jpg_large", ".png.1")):
        for label in COLOURS:
            (folder / label / f"{number:03}.png").rename(folder / label / f"{number}{suffix}")
    assert counts(read_photo_folder(folder)) == {"": each(3)}


def test_link_to_a_parent_folder_is_not_followed_forever(tmp_path):
    folder = draw_dataset(tmp_path / "set", 2)
    (folder / "red disc" / "up").symlink_to(folder)
    assert counts(read_photo_folder(folder)) == {"": each(2)}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (unicodedata.normalize("NFD", "Rosé"), "Rosé"),
        ("bird\u00a0of\u00a0paradise ", "bird of paradise"),
        ("می\u200cخک", "می\u200cخک"),
        ("लाल कमल", "लाल कमल"),
        ("$x$ lily", "$x$ lily"),
        ("向日葵", "向日葵"),
    ],
)
def test_class_names_of_any_script_become_labels(tmp_path, name, label):
    folder = draw_dataset(tmp_path / "set", 5)
    (folder / "red disc").rename(folder / name)
    train, _ = train_and_val(folder)
    assert label in {photo.label for photo in train}
    assert clean_label(label) == label


def test_decomposed_and_composed_names_are_one_class(tmp_path):
    names = [unicodedata.normalize(form, "Rosé") for form in ("NFC", "NFD")]
    for name, split in zip(names, ("train", "val"), strict=True):
        draw_dataset(tmp_path / "set" / split, 3, offset=100 * len(name))
        (tmp_path / "set" / split / "red disc").rename(tmp_path / "set" / split / name)
    train, val = train_and_val(tmp_path / "set")
    assert {p.label for p in train} == {p.label for p in val} == {*COLOURS, "Rosé"} - {"red disc"}


def test_file_names_that_are_not_utf8_are_read(tmp_path):
    folder = draw_dataset(tmp_path / "set", 5)
    for label in COLOURS:
        os.rename(folder / label / "000.png", os.fsencode(folder / label) + b"/\xff\xe9.png")
    train, val = train_and_val(folder)
    assert len(train) + len(val) == 15


@pytest.mark.parametrize("case", ["copies", "two photos", "one photo"])
def test_few_different_photos_are_split_without_leaks(tmp_path, case):
    folder = draw_dataset(tmp_path / "set", {"copies": 3, "two photos": 2, "one photo": 6}[case])
    for label in COLOURS if case == "copies" else ():
        for photo in sorted((folder / label).iterdir()):
            for number in range(9):
                shutil.copy(photo, photo.with_name(f"{photo.stem} copy {number}.png"))
    if case == "one photo":
        for photo in sorted((folder / "red disc").iterdir())[1:]:
            photo.unlink()
    train, val = train_and_val(folder)
    assert {photo.label for photo in train} == set(COLOURS) and val
    contents = {photo.path.read_bytes() for photo in train}
    assert not any(photo.path.read_bytes() in contents for photo in val)


def test_class_of_copies_of_one_photo_is_trained_on(tmp_path, capsys):
    folder = draw_dataset(tmp_path / "set", 5)
    for photo in sorted((folder / "red disc").iterdir())[1:]:
        shutil.copy(folder / "red disc" / "000.png", photo)
    train, _ = train_and_val(folder)
    assert Counter(photo.label for photo in train)["red disc"] == 5
    assert "Not held out" in capsys.readouterr().err


def test_single_photo_of_a_class_in_one_of_several_sources_is_trained_on(tmp_path):
    draw_dataset(tmp_path / "one", 10)
    two = draw_dataset(tmp_path / "two", 10, offset=500)
    for photo in sorted((two / "red disc").iterdir())[1:]:
        photo.unlink()
    data = Data(train=("one:train", "two:train"), val=("one:val", "two:val"))
    train, val = gather(data, tmp_path)
    assert len(train) + len(val) == 51
    assert two / "red disc" in {photo.path.parent for photo in train}


def test_nothing_can_be_held_out_of_single_photos(tmp_path):
    draw_dataset(tmp_path / "set", 1)
    with pytest.raises(DataError, match="No photos are held out"):
        train_and_val(tmp_path / "set")
