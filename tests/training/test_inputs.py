"""Training commands on users' inputs: mistyped options, test folders, names in any script, failed reports."""

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from flower_model import FlowerClassifier
from tests.support.commands import ROOT
from tests.support.drawn import draw_dataset
from tests.training.test_training import small_run
from training import calibrate, evaluate, train
from training.engine.run_folder import RECIPE_FILE

NAMES = ["向日葵", "$x$ $lily", unicodedata.normalize("NFD", "Rosé")]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Photos to train on and a folder of test photos."""
    root = tmp_path_factory.mktemp("data")
    draw_dataset(root / "discs" / "Training", 12)
    draw_dataset(root / "discs" / "Testing", 3, offset=500)
    return root / "discs"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "discs"
    assert train.main(small_run(data, out, "--epochs", "1")) == 0
    return out


def rejection(capsys, command, *words: object) -> str:
    capsys.readouterr()
    assert command.main([str(word) for word in words]) == 2
    message = capsys.readouterr().err.strip().rpartition("\r")[2]  # after the progress bar
    assert message.count("\n") == 0 and len(message) <= 300, message
    return message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model", "resnt101"], "Similar names: resnet101"),
        (["--set", "model.architecture='test_resnett'"], "no architecture 'test_resnett'"),
        (["--pretrained", "runs/flowers/modle"], "'runs/flowers/modle' are not a folder"),
        (["--pretrained", "resnet18.a1_in1k"], "belong to resnet18"),
        (["--out", "FILE/run"], "is a file, not a folder: check --out"),
        (["--out", os.fsdecode(b"r\xfcn")], "is not valid UTF-8"),
        (["--not-flowers", "nowhere"], "check --not-flowers"),
    ],
)
def test_mistyped_option_is_reported_before_a_photo_is_read(capsys, tmp_path, words, expected):
    data = draw_dataset(tmp_path / "discs", 2)
    for photo in (data / "red disc").iterdir():
        photo.write_bytes(b"reading this photo would end the run")
    (tmp_path / "file").touch()
    words = [word.replace("FILE", str(tmp_path / "file")) for word in words]
    assert expected in rejection(capsys, train, *small_run(data, tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [calibrate, evaluate])
def test_missing_model_is_reported_before_a_photo_is_read(capsys, tmp_path, command):
    data = draw_dataset(tmp_path / "discs", 2)
    for photo in data.rglob("*.png"):
        photo.write_bytes(b"reading this photo would end the command")
    message = rejection(capsys, command, tmp_path / "modle", "--data", data)
    assert "modle" in message


@pytest.mark.slow
def test_test_folder_is_evaluated_at_the_end_and_selects_nothing(run):
    details = FlowerClassifier.from_pretrained(run / "model").config.details
    assert details["tests"]["discs:test"]["photos"] == 9
    assert details["held_out"]["sources"] == ["discs:val"]
    assert details["calibration"]["sources"] == ["discs:val"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "photos"), [("{}", 45), ("{}:train", None), ("{}/Training", 36)]
)
def test_evaluating_photos_that_were_trained_on_prints_a_warning(capsys, run, data, source, photos):
    trained = len((run / "trained-on.txt").read_text(encoding="utf-8").split())
    assert evaluate.main([str(run / "model"), "--data", source.format(data)]) == 0
    expected = f"the model was trained on {trained} of the {photos or trained} photos"
    assert expected in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("split", ["val", "test", "Testing"])
def test_evaluating_unseen_photos_prints_no_warning(capsys, run, data, split):
    assert evaluate.main([str(run / "model"), f"{data}:{split}"]) == 0
    printed = capsys.readouterr()
    assert "top-1 accuracy" in printed.out and "trained on" not in printed.err


@pytest.mark.slow
def test_calibrate_takes_the_data_of_the_run(capsys, run, data, tmp_path):
    folder = shutil.copytree(run / "model", tmp_path / "model")
    assert calibrate.main([str(folder), "--data", str(data)]) == 0
    assert "held out: top-1" in capsys.readouterr().out
    message = rejection(capsys, calibrate, folder, "--data", data / "Testing")
    assert "not those that the run of" in message and "--data" in message


@pytest.mark.parametrize("command", [calibrate, evaluate])
def test_help_explains_the_val_split(capsys, command):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert ":val" in capsys.readouterr().out


def test_failed_review_ends_neither_the_run_nor_its_publication(
    run, data, tmp_path, hub, run_module
):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    shutil.rmtree(out / "model")
    for name in ("worst.jpg", "doubtful.jpg", "suspects.csv"):
        (out / name).unlink(missing_ok=True)
        (out / name / "in the way").mkdir(parents=True)
    words = [*small_run(data, out, "--epochs", "1"), "--resume", "--push-to-hub", "flora/discs"]
    recipe = (out / RECIPE_FILE).read_text(encoding="utf-8")
    printed = run_module(
        "training.train", *words, **hub.environment(tmp_path / "home", hub.add_user("flora"))
    )
    assert printed.returncode == 0, printed.stderr
    assert "The review failed (" in printed.stderr
    assert "Published: " in printed.stdout
    assert FlowerClassifier.from_pretrained(out / "model").labels
    assert (out / RECIPE_FILE).read_text(encoding="utf-8") == recipe


@pytest.mark.slow
def test_names_in_any_script_do_not_end_a_run_on_an_ascii_terminal(tmp_path):
    data = draw_dataset(tmp_path / "Blüten 花", 8)
    for folder, name in zip(sorted(data.iterdir()), NAMES, strict=True):
        folder.rename(data / name)
        os.rename(data / name / "000.png", os.fsencode(data / name) + b"/\xff\xe9.png")
    with open(os.fsencode(data / NAMES[0]) + b"/\xff broken.jpg", "wb") as file:
        file.write(b"no photo")
    out = tmp_path / "Läufe 花"
    words = small_run(data, out, "--epochs", "1")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    printed = subprocess.run(
        [sys.executable, "-m", "training.train", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    assert b"failed" not in printed.stderr and b"skipped: " in printed.stderr
    for name in ("worst.jpg", "suspects.csv", "model/confusion-matrix.png", "model/README.md"):
        assert (out / name).stat().st_size
    labels = FlowerClassifier.from_pretrained(out / "model").labels
    assert sorted(labels) == sorted(unicodedata.normalize("NFC", name) for name in NAMES)
