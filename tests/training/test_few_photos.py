"""Few photos: smaller batches, enough steps, the better of probe and fine-tuning, and honest claims."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from flower_model import FlowerClassifier
from flower_model.confidence import fit_temperature, probabilities
from flower_model.config import ModelConfig
from flower_model.errors import DataError
from tests.support.drawn import COLOURS, draw_dataset, draw_photo
from training.calibration.fit import calibrate, format_summary
from training.calibration.references import write_references
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.folders import Photo, read_photo_folder
from training.data.loader import batch_plan, load_batches
from training.data.outliers import calibration_outliers
from training.data.sampling import load_photos
from training.engine.checkpoint import Progress
from training.engine.clock import Clock
from training.engine.finetune import finetune
from training.recipe import Finetune, Recipe, load_recipe
from training.train import prepare_accelerator

LABELS = sorted(COLOURS)


def recipe_for(folder: Path, **finetune: object) -> Recipe:
    changes = {
        "data": {"train": [f"{folder}:train"], "val": [f"{folder}:val"]},
        "model": {"architecture": "test_resnet", "pretrained": "", "test_size": 32},
        "probe": False,
        "finetune": {"epochs": 1, "image_sizes": [32], "min_steps": 2, **finetune},
    }
    return load_recipe("default", changes)


# Batches and steps


@pytest.mark.parametrize(
    ("count", "settings", "processes", "expected"),
    [
        (2014, {}, 1, (32, 62)),  # many photos: as the recipe says
        (2014, {"batch_size": 256}, 1, (256, 24)),
        (100, {}, 1, (16, 24)),
        (48, {}, 1, (8, 24)),
        (3, {}, 1, (8, 24)),
        (48, {"batch_size": 4}, 1, (4, 24)),  # never more than the recipe says
        (48, {"batch_size": 1}, 1, (1, 48)),
        (48, {"batch_size": 24, "accumulate": 3}, 1, (12, 24)),
        (48, {"accumulate": 4, "mixup": 0.2}, 1, (8, 24)),
        (48, {"mixup": 0.2}, 8, (16, 24)),  # two photos for each process
        (48, {"min_steps": 1}, 1, (8, 6)),
    ],
)
def test_few_photos_get_smaller_batches_and_enough_steps(count, settings, processes, expected):
    plan = batch_plan(count, Finetune(epochs=1, lr=1e-3, **settings), processes)
    assert plan == expected


@pytest.fixture(scope="module")
def accelerator(tmp_path_factory):
    return prepare_accelerator(recipe_for(tmp_path_factory.mktemp("none")))


def test_every_batch_is_full_and_an_epoch_repeats_the_photos(tmp_path, accelerator):
    folder = draw_dataset(tmp_path / "discs", 5)
    recipe = recipe_for(folder, min_steps=6)
    photos = load_photos(recipe.data, tmp_path, 32)
    assert photos.count == 12
    batches = load_batches(photos, recipe, 0, lambda _: torch.zeros(3), 0, accelerator)
    targets = [targets for _, targets in batches]
    assert [len(batch) for batch in targets] == [8] * 6
    assert np.bincount(torch.cat(targets)).tolist() == [16, 16, 16]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 4, "accumulate": 4}])
def test_a_batch_of_one_photo_trains_without_batch_statistics(tmp_path, accelerator, settings):
    folder = draw_dataset(tmp_path / "discs", 5)
    recipe = recipe_for(folder, ema_decay=0.0, keep="last", **settings)
    photos = load_photos(recipe.data, tmp_path, 32)
    network = timm.create_model("resnet18", num_classes=3)  # 1 x 1 pixel at its end
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    run = tmp_path / "run"
    run.mkdir()
    finetune(network, photos, recipe, run, accelerator=accelerator, clock=Clock(), resume=False)
    after = network.state_dict()
    statistics = [name for name in after if "running" in name]
    assert all(torch.equal(after[name], before[name]) for name in statistics)
    assert not torch.equal(after["fc.weight"], before["fc.weight"])


# The better of probe and fine-tuning


def progress_of(*metrics: tuple[float, float]) -> Progress:
    """The progress after epochs with these held-out accuracies and log losses."""
    progress = Progress()
    for epoch, (accuracy, loss) in enumerate(metrics):
        row = {"val_accuracy": accuracy, "val_loss": loss}
        progress = replace(progress, epoch=epoch).add(row)
    return progress


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ([(0.8, 0.5), (0.6, 0.4)], 0),  # the probe, despite a lower log loss later
        ([(0.8, 0.5), (0.8, 0.4)], 1),  # equal accuracy: the lower log loss
        ([(0.8, 0.5), (0.8, 0.6)], 0),
        ([(0.8, 0.5), (0.8, 0.5)], 0),  # no gain: the earlier one
        ([(0.8, 0.5), (0.9, 0.7), (0.9, 0.6)], 2),
    ],
)
def test_the_better_of_probe_and_epochs_is_kept(metrics, best):
    progress = progress_of(*metrics)
    assert progress.best_epoch == best
    assert (progress.best_accuracy, progress.best_loss) == metrics[best]


def test_fine_tuning_that_is_worse_than_the_probe_is_discarded(tmp_path, run_module):
    folder = draw_dataset(tmp_path / "discs", 10)
    settings = ["model.architecture='test_resnet'", "model.pretrained=''", "model.test_size=64"]
    settings += ["probe.image_size=64", "finetune.image_sizes=[64]", "finetune.min_steps=4"]
    settings += ["finetune.lr=3.0", "finetune.ema_decay=0.0", "finetune.epochs=1"]  # destroys it
    words = [word for setting in settings for word in ("--set", setting)]
    out = tmp_path / "run"
    command = ["--data", folder, "--out", out, "--data-root", tmp_path, *words]
    printed = run_module("training.train", *command)
    assert printed.returncode == 0, printed.stderr
    model = FlowerClassifier.from_pretrained(out / "model")
    photos = {label: draw_photo(colour, 99_000) for label, colour in COLOURS.items()}
    assert [answer.label for answer in model.predict(list(photos.values()))] == list(photos)


# Claims


def test_photos_without_an_error_do_not_make_the_model_certain():
    targets = np.arange(30) % 3
    logits = 5.0 * np.eye(3)[targets]
    confidence = probabilities(logits, fit_temperature(logits, targets)).max()
    assert 0.9 < confidence < 0.98  # 31 of 32


@pytest.fixture
def model() -> FlowerClassifier:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    details = {"held_out": {"sources": ["discs:val"]}}
    config = ModelConfig("test_resnet", tuple(LABELS), details=details)
    return FlowerClassifier(network, config, device="cpu")


def decode(photos: list[Photo]) -> DecodedPhotos:
    return decode_photos(photos, 64, "decoding", cache=False)


def calibrated(
    model: FlowerClassifier,
    train: list[Photo],
    held_out: list[Photo],
    negatives: Path | None,
    other_flowers: Path | None = None,
) -> dict:
    recipe = load_recipe("default")
    outliers = calibration_outliers((negatives, other_flowers), 64, recipe)
    calibrate(model, recipe, decode(train), decode(held_out), Path(), outliers)
    return model.config.details


def split(folder: Path, held_out: int) -> tuple[list[Photo], list[Photo]]:
    """Training photos, and so many held-out photos per class."""
    photos = read_photo_folder(folder).splits[""]
    is_held_out = [int(photo.path.stem) < held_out for photo in photos]
    return (
        [photo for photo, held in zip(photos, is_held_out, strict=True) if not held],
        [photo for photo, held in zip(photos, is_held_out, strict=True) if held],
    )


def draw_negatives(folder: Path, count: int = 30) -> Path:
    folder.mkdir()
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (64, 72, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("with_negatives", [True, False])
def test_nine_held_out_photos_get_a_rejection_rule_but_no_temperature(
    model, tmp_path, with_negatives
):
    train, held_out = split(draw_dataset(tmp_path / "discs", 15), 3)
    negatives = draw_negatives(tmp_path / "negatives") if with_negatives else None
    details = calibrated(model, train, held_out, negatives)
    assert model.config.temperature == 1 and not details["calibration"]["fitted"]
    rule = details["rejection"]
    assert rule["flowers"] == 9 and rule["threshold_from_training_photos"]
    assert rule["method"] == ("support vectors" if with_negatives else "residual")
    new = [draw_photo(colour, 99_000 + n) for colour in COLOURS.values() for n in range(10)]
    assert np.mean([answer.is_flower for answer in model.predict(new)]) >= 0.8
    if with_negatives:
        noise = [answer.is_flower for answer in model.predict([*negatives.iterdir()])]
        assert np.mean(noise) <= 0.1
    summary = format_summary(model)
    assert "no temperature fitted" in summary and "set on training photos too" in summary


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 9])
def test_few_held_out_photos_get_no_known_species_rule(model, tmp_path, capsys, count):
    for colour in ("purple", "white", "black", "orange", "pink"):
        (tmp_path / "others" / colour).mkdir(parents=True)
        draw_photo(colour, 500).save(tmp_path / "others" / colour / "0.png")
    train, held_out = split(draw_dataset(tmp_path / "discs", 15), 3)
    details = calibrated(model, train, held_out[:count], None, tmp_path / "others")
    assert model.rejection and not model.rejection.known and "known_species" not in details
    assert "No known-species rule: fewer than 20" in capsys.readouterr().err


@pytest.mark.slow
def test_the_card_of_nine_held_out_photos_claims_no_calibration(model, tmp_path):
    train, held_out = split(draw_dataset(tmp_path / "discs", 15), 3)
    calibrated(model, train, held_out, None)
    model.save_pretrained(tmp_path / "model")
    card = " ".join((tmp_path / "model" / "README.md").read_text(encoding="utf-8").split())
    assert "probabilities are not calibrated" in card
    assert "too few photos to fit a temperature" in card


def test_copies_do_not_count_as_photos(model, tmp_path):
    train, held_out = split(draw_dataset(tmp_path / "discs", 2), 1)
    details = calibrated(model, train * 10, held_out * 10, None)
    assert not details["calibration"]["fitted"] and "rejection" not in details
    assert "no rejection rule fitted: fewer than 20 different" in format_summary(model)


def test_copies_of_a_negative_are_rejected(model, tmp_path):
    train, held_out = split(draw_dataset(tmp_path / "discs", 10), 2)
    folder = draw_negatives(tmp_path / "negatives", 1)
    for number in range(30):
        shutil.copy(folder / "0.png", folder / f"copy {number}.png")
    with pytest.raises(DataError, match="contains only 1 different readable photo\\."):
        calibrated(model, train, held_out, folder)


def test_references_name_a_class_without_photos(model, tmp_path):
    photos, _ = split(draw_dataset(tmp_path / "discs", 2), 0)
    train = decode([photo for photo in photos if photo.label != "red disc"])
    with pytest.raises(DataError, match="Class 'red disc' has no training photos"):
        write_references(model, train, tmp_path)


def test_too_few_negatives_are_rejected_before_training(tmp_path, run_module):
    draw_dataset(tmp_path / "discs", 5)
    draw_negatives(tmp_path / "not-flowers", 5)  # found without an option
    settings = ["model.architecture='test_resnet'", "model.pretrained=''"]
    words = [word for setting in settings for word in ("--set", setting)]
    command = ["--data", tmp_path / "discs", "--out", tmp_path / "run", *words]
    printed = run_module("training.train", *command, "--data-root", tmp_path)
    assert printed.returncode == 2
    assert "at least 20 non-flower photos" in printed.stderr
    assert not (tmp_path / "run").exists()
