"""A whole training run on drawn pictures, killed and resumed; and what it refuses."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

from flower_model import FlowerClassifier
from tests.support.drawn import COLOURS, draw_dataset, draw_photo
from training import train

SMALL = [
    "model.architecture='test_resnet'",
    "model.pretrained=''",
    "model.test_size=64",
    "probe.image_size=64",
    "finetune.epochs=4",
    "finetune.batch_size=8",
    "finetune.min_steps=1",
    "finetune.image_sizes=[48, 64]",
    "finetune.lr=3e-3",
    "finetune.mixup=0.2",
    "finetune.ema_decay=0.9",
]


def small_run(data: Path, out: Path, *more: str) -> list[str]:
    """The arguments of a run that takes seconds."""
    settings = [word for setting in SMALL for word in ("--set", setting)]
    # a data root without photos, so that none of yours take part
    root = ["--data-root", str(out.parent)]
    return ["--data", str(data), "--out", str(out), *root, *settings, *more]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = draw_dataset(tmp_path_factory.mktemp("data") / "discs")
    (folder / "red disc" / "broken.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory, run_module) -> tuple[Path, subprocess.CompletedProcess]:
    """An unbroken run's folder and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    return out, run_module("training.train", *small_run(dataset, out))


def test_finished_run_is_a_model_that_classifies_new_photos(finished):
    out, printed = finished
    assert printed.returncode == 0, printed.stderr
    model = FlowerClassifier.from_pretrained(out / "model")
    photos = {label: draw_photo(colour, 99_000) for label, colour in COLOURS.items()}
    answers = model.predict(list(photos.values()))
    assert [answer.label for answer in answers] == list(photos)


def test_saved_and_loaded_model_gives_identical_answers(finished, tmp_path):
    out, _ = finished
    model = FlowerClassifier.from_pretrained(out / "model")
    model.save_pretrained(tmp_path / "again")
    photo = draw_photo("gold", 99_001)
    again = FlowerClassifier.from_pretrained(tmp_path / "again")
    assert again.predict(photo) == model.predict(photo)


def test_few_held_out_photos_leave_the_temperature_at_1(finished):
    out, printed = finished
    assert "no temperature fitted: fewer than 20 different held-out photos" in printed.stdout
    assert FlowerClassifier.from_pretrained(out / "model").config.temperature == 1
    card = " ".join((out / "model" / "README.md").read_text().split())
    assert "These were too few photos to fit a temperature." in card
    assert "the choice of the epoch" in card


def test_metrics_csv_has_the_probe_and_every_epoch(finished):
    out, _ = finished
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [row["image_size"] for row in rows] == ["", "48", "48", "64", "64"]
    assert all(0 <= float(row["val_accuracy"]) <= 1 for row in rows)
    seconds = [float(row["run_seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_unreadable_photo_is_skipped_and_reported(finished):
    _, printed = finished
    assert "1 skipped" in printed.stdout
    assert "broken.jpg" in printed.stderr


def test_config_records_held_out_photos_without_local_paths(finished, dataset):
    out, _ = finished
    held_out = FlowerClassifier.from_pretrained(out / "model").config.details["held_out"]
    assert held_out["photos"] > 0
    assert held_out["sources"] == ["discs:val"]
    assert str(dataset.parent) not in (out / "model" / "config.json").read_text()


def test_evaluate_agrees_with_predict(finished, tmp_path, run_module):
    import json

    out, _ = finished
    data = draw_dataset(tmp_path / "new", photos_per_class=5, offset=50_000)
    printed = run_module("training.evaluate", out / "model", data, "--json")
    assert printed.returncode == 0, printed.stderr
    result = json.loads(printed.stdout)
    model = FlowerClassifier.from_pretrained(out / "model")
    files = sorted(data.glob("*/*.png"))
    answers = model.predict(files)
    hits = [answer.label == file.parent.name for answer, file in zip(answers, files, strict=True)]
    assert result["photos"] == 15
    assert result["top1"] == pytest.approx(sum(hits) / 15)


def refused(capsys, arguments: list[str]) -> str:
    """The one sentence that a refused run prints."""
    assert train.main(arguments) == 2
    errors = capsys.readouterr().err.strip()
    assert errors.count("\n") == 0, errors
    return errors


def test_unknown_recipe_is_rejected(capsys):
    assert "There is no recipe 'flowers7'" in refused(capsys, ["flowers7"])


def test_unknown_recipe_key_is_rejected(capsys):
    said = refused(capsys, ["flowers5", "--set", "finetune.epoch=3"])
    assert "has no key 'finetune.epoch'" in said


def test_invalid_recipe_value_is_rejected(capsys):
    assert "finetune.epochs" in refused(capsys, ["flowers5", "--set", "finetune.epochs=-1"])


def test_recipe_file_with_invalid_toml_is_rejected(capsys, tmp_path):
    (tmp_path / "mine.toml").write_text("epochs = = 3")
    assert "not valid TOML" in refused(capsys, [str(tmp_path / "mine.toml")])


def test_run_without_recipe_and_data_is_rejected(capsys):
    assert "Name a recipe" in refused(capsys, [])


def test_folder_of_an_earlier_run_is_rejected_and_kept(capsys, finished, dataset):
    out, _ = finished
    before = (out / "last.safetensors").stat().st_mtime_ns
    assert "--resume" in refused(capsys, small_run(dataset, out))
    assert (out / "last.safetensors").stat().st_mtime_ns == before


def test_folder_with_unrelated_files_is_rejected_even_with_overwrite(capsys, dataset, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    said = refused(capsys, small_run(dataset, tmp_path, "--overwrite"))
    assert "contains other files" in said
    assert (tmp_path / "thesis.txt").exists()


def test_resuming_with_other_settings_is_rejected(capsys, finished, dataset):
    out, _ = finished
    command = small_run(dataset, out, "--resume", "--set", "finetune.lr=1e-5")
    assert "other settings" in refused(capsys, command)


def test_resuming_without_a_run_is_rejected(capsys, dataset, tmp_path):
    assert "no run to resume" in refused(capsys, small_run(dataset, tmp_path / "new", "--resume"))


def test_missing_data_folder_is_rejected(capsys, tmp_path):
    said = refused(capsys, small_run(tmp_path / "nowhere", tmp_path / "out"))
    assert "nowhere' doesn't exist: check --data" in said
    assert not (tmp_path / "out").exists()


def test_data_folder_with_one_class_is_rejected(capsys, tmp_path):
    (tmp_path / "data" / "rose").mkdir(parents=True)
    for number in range(4):
        draw_photo("crimson", number).save(tmp_path / "data" / "rose" / f"{number}.png")
    said = refused(capsys, small_run(tmp_path / "data", tmp_path / "out"))
    assert "at least two classes" in said and "only 'rose'" in said


def test_empty_class_is_rejected(capsys, tmp_path):
    data = draw_dataset(tmp_path / "data", photos_per_class=3)
    (data / "tulip").mkdir()
    said = refused(capsys, small_run(data, tmp_path / "out"))
    assert "tulip' is empty" in said


def test_class_of_unreadable_photos_is_rejected_before_training(capsys, tmp_path):
    data = draw_dataset(tmp_path / "data", photos_per_class=6)
    (data / "tulip").mkdir()
    for number in range(6):
        (data / "tulip" / f"{number}.jpg").write_bytes(b"\xff\xd8 cut short %d" % number)
    assert train.main(small_run(data, tmp_path / "out")) == 2
    assert "No photo of class 'tulip' can be opened" in capsys.readouterr().err


def test_pretrained_weights_of_another_architecture_are_rejected(
    capsys, dataset, tmp_path, tiny_folder
):
    command = small_run(dataset, tmp_path / "out", "--set", "model.architecture='resnet18'")
    assert train.main([*command, "--pretrained", str(tiny_folder)]) == 2
    assert "belong to test_resnet" in capsys.readouterr().err


def test_pretrained_weights_that_cannot_be_downloaded_are_rejected(capsys, dataset, tmp_path):
    command = small_run(dataset, tmp_path / "out")
    assert train.main([*command, "--pretrained", "timm/test_resnet.r160_in1k"]) == 2
    assert "can't be downloaded from the Hub" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_overwrite_keeps_the_old_run_if_the_new_one_fails_to_start(capsys, finished, tmp_path):
    out, _ = finished
    assert train.main(small_run(tmp_path / "nowhere", out, "--overwrite")) == 2
    assert (out / "model" / "model.safetensors").exists()


def test_evaluation_on_unknown_classes_is_rejected(finished, tmp_path, run_module):
    out, _ = finished
    data = draw_dataset(tmp_path / "data", photos_per_class=1)
    os.rename(data / "red disc", data / "peony")
    printed = run_module("training.evaluate", out / "model", data)
    assert printed.returncode == 2
    assert "Class 'peony'" in printed.stderr and printed.stderr.count("\n") == 1


def test_run_writes_a_review_of_errors_and_suspect_labels(finished):
    out, printed = finished
    for name in ("worst.jpg", "doubtful.jpg", "suspects.csv"):
        assert (out / name).stat().st_size and name in printed.stdout
        assert not (out / "model" / name).exists()


def test_run_reports_its_time_by_phase(finished):
    out, printed = finished
    made = FlowerClassifier.from_pretrained(out / "model").config.details["made_with"]
    phases = {"start", "decoding", "probe", "training", "validation", "checkpoints"}
    assert set(made["phases"]) == phases
    assert sum(made["phases"].values()) == pytest.approx(60 * made["minutes"], abs=4)
    assert "Time: start" in printed.stdout


def test_second_round_records_its_initial_weights(finished, dataset, tmp_path, run_module):
    out, _ = finished
    words = small_run(dataset, tmp_path / "second", "--pretrained", str(out / "model"))
    printed = run_module("training.train", *words, "--set", "probe=false", "--epochs", "1")
    assert printed.returncode == 0, printed.stderr
    details = FlowerClassifier.from_pretrained(tmp_path / "second" / "model").config.details
    assert [run["recipe"] for run in details["earlier"]] == [details["recipe"]["name"]]
    card = (tmp_path / "second" / "model" / "README.md").read_text(encoding="utf-8")
    assert "Initialised from an earlier run" in card


@pytest.mark.parametrize(
    ("step_epochs", "rates"), [(1, [1e-2, 1e-3, 1e-4, 1e-5]), (0.5, [1e-3, 1e-5, 1e-7, 1e-9])]
)
def test_step_schedule_lowers_the_learning_rate_after_the_given_epochs(
    dataset, tmp_path, step_epochs, rates
):
    settings = ["finetune.scheduler='step'", f"finetune.step_epochs={step_epochs}", "probe=false"]
    settings += ["finetune.warmup_epochs=0", "finetune.lr=1e-2", "finetune.image_sizes=[48]"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert train.main(small_run(dataset, tmp_path / "run", *words)) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [float(row["lr"]) for row in rows] == pytest.approx(rates)  # at the ends of epochs


def test_run_without_epochs_saves_the_linear_probe(dataset, tmp_path, run_module):
    printed = run_module("training.train", *small_run(dataset, tmp_path / "run", "--epochs", "0"))
    assert printed.returncode == 0, printed.stderr
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["0"]
    assert "linear probe" in printed.stdout
    answer = FlowerClassifier.from_pretrained(tmp_path / "run" / "model").predict(
        draw_photo("gold", 1)
    )
    assert answer.label == "yellow disc"


def test_run_without_probe_and_epochs_is_rejected(capsys, dataset, tmp_path):
    arguments = small_run(dataset, tmp_path / "run", "--epochs", "0", "--set", "probe=false")
    assert "trains nothing" in refused(capsys, arguments)
