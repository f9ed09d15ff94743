"""python -m training.teach: new classes in a new weights folder, references for an old one, refusals."""

import pytest
from PIL import Image

from flower_model import FlowerClassifier
from flower_model.serialization.references import REFERENCES_FILE
from tests.support.drawn import draw_dataset
from tests.support.teaching import KNOWN, NEW, disc_photos, make_teachable
from tests.training.test_training import small_run
from training import calibrate, teach, train


def save_photos(folder, label, count):
    folder.mkdir()
    for number, photo in enumerate(disc_photos(label, count)):
        Image.fromarray(photo).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model and the photos of a new class."""
    place = tmp_path_factory.mktemp("teach")
    make_teachable(place / "model")
    save_photos(place / "photos", NEW, 5)
    save_photos(place / "more", "red disc", 3)
    (place / "empty").mkdir()
    return place


def run(place, *words):
    return teach.main([str(place / "model"), *map(str, words)])


def test_a_class_is_taught_from_a_folder_of_photos(place, tmp_path, capsys):
    assert run(place, "--add", NEW, place / "photos", "--out", tmp_path / "mine") == 0
    printed = capsys.readouterr().out
    assert f"{NEW}: taught from 5 photos" in printed
    assert "cross-validated, 5 of 5 are named correctly" in printed
    assert "of 40 reference photos get the new name" in printed
    model = FlowerClassifier.from_pretrained(tmp_path / "mine")
    assert model.labels == [*KNOWN, NEW]
    assert model.predict(disc_photos(NEW, 1, offset=500)[0]).label == NEW


def test_several_classes_are_taught_at_once(place, tmp_path, capsys):
    words = ["--add", NEW, place / "photos", "--add", "crimson disc", place / "more"]
    assert run(place, *words, "--out", tmp_path / "mine") == 0
    assert "others are called red disc" in capsys.readouterr().out
    model = FlowerClassifier.from_pretrained(tmp_path / "mine")
    assert model.labels == [*KNOWN, NEW, "crimson disc"]


@pytest.mark.parametrize(
    ("name", "photos", "message"),
    [
        ("red disc", "photos", "already knows 'red disc'"),
        ("Unknown  flower", "photos", "nothing that the model knows"),
        ("new", "nowhere", "nowhere' for 'new' does not exist"),
        ("new", "empty", "contains no photos"),
        ("two\nlines", "photos", "printable characters"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(place, tmp_path, capsys, name, photos, message):
    assert run(place, "--add", name, place / photos, "--out", tmp_path / "mine") == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "mine").exists()


def test_an_existing_folder_is_not_overwritten(place, capsys):
    assert run(place, "--add", NEW, place / "photos", "--out", place / "empty") == 2
    assert "name a new folder" in capsys.readouterr().err


def test_a_name_given_twice_is_refused(place, tmp_path, capsys):
    words = ["--add", NEW, place / "photos", "--add", NEW, place / "more"]
    assert run(place, *words, "--out", tmp_path / "mine") == 2
    assert "same name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "or --references alone"),
        (["--out", "x"], "--add and --out must be given together"),
        (["--references", "--out", "x"], "or --references alone"),
    ],
)
def test_incomplete_options_are_explained(place, words, message, capsys):
    with pytest.raises(SystemExit):
        run(place, *words)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_training_and_calibration_write_references_and_so_does_the_command(tmp_path, capsys):
    data, out = draw_dataset(tmp_path / "discs"), tmp_path / "run"
    assert train.main(small_run(data, out, "--set", "finetune.epochs=1")) == 0
    model, again = out / "model", ["--data", str(data), "--data-root", str(tmp_path)]
    written = (model / REFERENCES_FILE).read_bytes()
    for command, words in ((teach.main, ["--references"]), (calibrate.main, [])):
        (model / REFERENCES_FILE).unlink()
        assert command([str(model), *words, *again]) == 0, capsys.readouterr().err
        assert len((model / REFERENCES_FILE).read_bytes()) == len(written)

    photos = save_photos(tmp_path / "photos", NEW, 3)
    mine = tmp_path / "mine"
    assert teach.main([str(model), "--add", "sky disc", str(photos), "--out", str(mine)]) == 0
    before = {path: path.read_bytes() for path in mine.iterdir()}
    assert calibrate.main([str(mine), *again]) == 2
    assert "calibrate or average the models before teaching" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in mine.iterdir()} == before


def test_references_need_the_photos_of_the_run(place, capsys):
    assert run(place, "--references") == 2
    assert "Only a model made by training.train" in capsys.readouterr().err
