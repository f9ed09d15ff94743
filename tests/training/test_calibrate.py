"""python -m training.calibrate: what a run's end fits, once more; what it fits it to; what it refuses."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flower_model import FlowerClassifier
from flower_model.confidence import calibration_error
from flower_model.rejection import REJECTION_FILE
from tests.support.drawn import COLOURS, draw_dataset, draw_photo
from tests.training.test_training import small_run
from training import calibrate, train
from training.calibration.synthetic import drawn_pictures, foliage
from training.data.decoded import decode_photos
from training.data.folders import Photo
from training.data.sources import folds
from training.reporting.metrics import calibration_error_by_chance, per_class, reliability

NEW = [draw_photo(colour, 99_000 + n) for colour in COLOURS.values() for n in range(8)]
FITTED = ("config.json", "README.md", REJECTION_FILE, "reliability.png")


def draw_stripes(folder: Path, count: int) -> Path:
    """Draw pictures without a disc."""
    folder.mkdir()
    for number in range(count):
        rows = np.random.default_rng(number).integers(0, 256, (8, 1, 3), np.uint8)
        stripes = np.broadcast_to(np.repeat(rows, 8, axis=0), (64, 72, 3))
        Image.fromarray(np.ascontiguousarray(stripes)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The photos of a user: flowers, here discs, of which 30 are held out, and negatives."""
    root = tmp_path_factory.mktemp("data")
    draw_dataset(root / "discs", photos_per_class=50)
    draw_stripes(root / "not-flowers", 40)
    return root


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The weights folder of a run on them."""
    out = tmp_path_factory.mktemp("runs") / "discs"
    words = ["--set", "finetune.epochs=2", "--data-root", str(data)]
    assert train.main(small_run(data / "discs", out, *words)) == 0
    return out / "model"


@pytest.fixture
def model_folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "model")


def run(folder, data, *words):
    return calibrate.main([str(folder), "--data-root", str(data), *map(str, words)])


def details_of(folder):
    return FlowerClassifier.from_pretrained(folder).config.details


# What it fits


def test_run_fits_a_rule_that_separates_discs_from_stripes(trained, data):
    model = FlowerClassifier.from_pretrained(trained)
    found = model.config.details["rejection"]
    assert found["method"] == "support vectors"
    assert (found["flowers"], found["others"]) == (30, 40)
    assert found["auroc"] > 0.9
    flowers = [answer.is_flower for answer in model.predict(NEW)]
    stripes = [answer.is_flower for answer in model.predict([*(data / "not-flowers").iterdir()])]
    assert sum(flowers) >= 21 and sum(stripes) <= 4


def test_recalibration_is_reproducible_to_the_byte(trained, data, model_folder):
    assert run(model_folder, data) == 0
    first = {file.name: file.read_bytes() for file in model_folder.iterdir()}
    config = json.loads((model_folder / "config.json").read_text())
    config["flower_model"]["temperature"] = 7.0
    del config["flower_model"]["rejection"], config["flower_model"]["calibration"]
    (model_folder / "config.json").write_text(json.dumps(config))
    (model_folder / REJECTION_FILE).unlink()
    (model_folder / "README.md").unlink()
    assert run(model_folder, data) == 0
    assert {file.name: file.read_bytes() for file in model_folder.iterdir()} == first
    assert first["model.safetensors"] == (trained / "model.safetensors").read_bytes()


def test_rule_without_negatives_is_fitted_to_flowers_alone(data, model_folder, tmp_path):
    shutil.copytree(data / "discs", tmp_path / "root" / "discs")
    assert run(model_folder, tmp_path / "root") == 0
    model = FlowerClassifier.from_pretrained(model_folder)
    found = model.config.details["rejection"]
    assert found["method"] == "residual" and found["flowers_kept"] >= 0.8
    assert "auroc" not in found and "others" not in found
    assert sum(answer.is_flower for answer in model.predict(NEW)) >= 21


def test_flowers_of_other_species_give_a_known_species_rule(data, model_folder, tmp_path, capsys):
    for number, colour in enumerate(("purple", "white", "black", "orange", "pink", "cyan")):
        folder = tmp_path / "others" / colour
        folder.mkdir(parents=True)
        for photo in range(6):
            draw_photo(colour, 500 + 10 * number + photo).save(folder / f"{photo}.png")
    assert run(model_folder, data, "--other-flowers", tmp_path / "others") == 0
    assert "known-species rule: 9" in capsys.readouterr().out
    model = FlowerClassifier.from_pretrained(model_folder)
    found = model.config.details["known_species"]
    assert (found["known"], found["unknown"]) == (30, 36)
    answers = model.predict([*(tmp_path / "others").rglob("*.png"), *NEW])
    known = [answer.known_probability for answer in answers]
    assert np.mean(known[36:]) > np.mean(known[:36])
    assert sum(answer.is_known for answer in answers[36:]) >= 20
    assert "flowers of other species" in (model_folder / "README.md").read_text()


def test_too_few_flower_photos_fit_no_rejection_rule(tmp_path, capsys):
    data = draw_dataset(tmp_path / "discs", photos_per_class=5)
    words = ["--set", "finetune.epochs=1", "--data-root", str(tmp_path)]
    assert train.main(small_run(data, tmp_path / "run", *words)) == 0
    assert "no rejection rule fitted" in capsys.readouterr().out
    model = FlowerClassifier.from_pretrained(tmp_path / "run" / "model")
    assert model.predict(NEW[0]).is_flower is None
    assert not (tmp_path / "run" / "model" / REJECTION_FILE).exists()


@pytest.fixture(scope="module")
def recalibrated(data, trained, tmp_path_factory):
    """The weights folder with an edited card, calibrated on more sources: two of one name, and a copy."""
    place = tmp_path_factory.mktemp("recalibrated")
    folder = shutil.copytree(trained, place / "model")
    sources = [str(draw_dataset(place / name / "new", n, 500)) for n, name in ((1, "a"), (2, "b"))]
    copy = shutil.copytree(data / "discs", place / "discs")
    config = json.loads((folder / "config.json").read_text())
    config["flower_model"]["recipe"]["data"] |= {"test": sources, "calibrate": [f"{copy}:val"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("Mine.")
    assert run(folder, data) == 0
    return folder


def test_sources_in_folders_of_the_same_name_are_all_reported(recalibrated):
    tests = details_of(recalibrated)["tests"]
    photos = {name: found["photos"] for name, found in tests.items()}
    assert photos == {"discs:val": 30, "new": 3, "new (2)": 6}


def test_copy_of_a_held_out_photo_in_another_source_is_evaluated_once(recalibrated):
    assert details_of(recalibrated)["rejection"]["flowers"] == 30


def test_edited_model_card_is_kept(recalibrated):
    assert (recalibrated / "README.md").read_text() == "Mine."


def test_interruption_between_any_two_files_leaves_a_loadable_folder(
    data, model_folder, trained, monkeypatch, tmp_path
):
    replace, copies = os.replace, []

    def stop(source, target):
        copies.append(shutil.copytree(model_folder, tmp_path / f"before {target.name}"))
        if len(copies) == 4:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    assert run(model_folder, data) == 130
    monkeypatch.undo()
    weights = "model.safetensors"
    for folder in (*copies, model_folder):
        assert FlowerClassifier.from_pretrained(folder).predict(NEW[0]).is_flower is not None
        assert (folder / weights).read_bytes() == (trained / weights).read_bytes()


# What it fits it to


def test_folds_are_even_and_reproducible_and_keep_copies_together(data, tmp_path):
    files = sorted((data / "discs").rglob("*.png"))
    copies = [Path(shutil.copy(file, tmp_path / f"{n}.png")) for n, file in enumerate(files[:20])]
    photos = [Photo(file, "") for file in (*files, *copies)]
    fold = folds(photos, 5)
    assert np.bincount(fold[: len(files)]).tolist() == [30] * 5
    assert fold[len(files) :].tolist() == fold[:20].tolist()
    assert folds(photos[::-1], 5).tolist() == fold[::-1].tolist()


def test_drawn_pictures_depend_only_on_the_seed():
    first, again, other = drawn_pictures(2), drawn_pictures(2), drawn_pictures(2, seed=1)
    assert len(first) == 10 and all(picture.shape[2] == 3 for picture in first)
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, other))


def test_foliage_is_cropped_only_from_green_regions(tmp_path):
    lawn = Image.new("RGB", (200, 160), "forestgreen")
    lawn.paste("crimson", (100, 0, 200, 160))
    lawn.save(tmp_path / "lawn.png")
    Image.new("RGB", (200, 160), "crimson").save(tmp_path / "red.png")
    photos = [Photo(tmp_path / name, "") for name in ("red.png", "lawn.png")]
    [leaves] = foliage(decode_photos(photos, 160, "decoding"))
    assert (leaves == leaves[0, 0]).all() and leaves[0, 0].argmax() == 1


# How good it says it is


def test_recall_precision_and_confusions_cover_each_class_that_occurs():
    answers, targets = np.array([0, 0, 1, 1, 3]), np.array([0, 1, 1, 1, 0])
    assert per_class(answers, targets, ["a", "b", "c", "d"]) == {
        "a": {"photos": 2, "recall": 0.5, "precision": 0.5, "taken_for": {"d": 1}},
        "b": {"photos": 3, "recall": 0.6667, "precision": 1.0, "taken_for": {"a": 1}},
    }


def test_card_omits_classes_with_few_held_out_photos(trained):
    card = (trained / "README.md").read_text(encoding="utf-8")
    rows = [
        line for line in card.splitlines() if line.startswith(tuple(f"| {c} " for c in COLOURS))
    ]
    assert not rows  # ten photos of each class are held out
    assert set(details_of(trained)["per_class"]) == set(COLOURS)


def test_calibration_error_is_the_weighted_sum_of_the_reliability_bins():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([0.5] * 4, 500)
    targets = rng.integers(0, 4, 500)
    bins = reliability(probs, targets)
    gaps = sum(b["photos"] * abs(b["accuracy"] - b["confidence"]) for b in bins)
    assert gaps / 500 == pytest.approx(calibration_error(probs, targets))


def test_error_by_chance_is_that_of_perfectly_calibrated_probabilities():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([0.5] * 4, 300)
    errors = []
    for _ in range(200):
        targets = (probs.cumsum(axis=1) > rng.random((300, 1))).argmax(axis=1)
        errors.append(calibration_error(probs, targets))
    mean, bad_luck = calibration_error_by_chance(probs)
    assert mean == pytest.approx(np.mean(errors), rel=0.05)
    assert bad_luck == pytest.approx(np.quantile(errors, 0.95), rel=0.1)


# What it refuses


def refused(capsys, *words):
    capsys.readouterr()
    assert calibrate.main([str(word) for word in words]) == 2
    errors = capsys.readouterr().err.strip()
    assert errors.count("\n") == 0, errors
    return errors


def test_photos_that_differ_from_those_of_the_run_are_rejected(capsys, model_folder, tmp_path):
    draw_dataset(tmp_path / "root" / "discs", photos_per_class=50, offset=500)
    said = refused(capsys, model_folder, "--data-root", tmp_path / "root")
    assert "not those that" in said and "--data-root" in said


def test_model_from_another_tool_is_rejected(capsys, tiny_folder, data):
    assert "Only a model made by training.train" in refused(
        capsys, tiny_folder, "--data-root", data
    )


def test_missing_model_is_rejected(capsys, tmp_path):
    assert "no weights folder" in refused(capsys, tmp_path / "nowhere")


def test_missing_negatives_folder_is_rejected(capsys, model_folder, data, tmp_path):
    said = refused(capsys, model_folder, "--data-root", data, "--not-flowers", tmp_path / "nowhere")
    assert "check --not-flowers" in said


@pytest.mark.parametrize("count", [0, 5])
def test_folder_of_too_few_negatives_is_rejected(
    capsys, model_folder, data, tmp_path, trained, count
):
    few = draw_stripes(tmp_path / "few", count)
    said = refused(capsys, model_folder, "--data-root", data, "--not-flowers", few)
    assert "few" in said and "flower" in said
    for name in FITTED:
        assert (model_folder / name).read_bytes() == (trained / name).read_bytes()
