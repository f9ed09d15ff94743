"""Splits without leaks, class-balanced sampling and reproducible batches."""

import random
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flower_model.config import ModelConfig
from flower_model.errors import DataError
from tests.support.drawn import COLOURS, draw_dataset
from training.data import flowers102, loader
from training.data.folders import Photo, read_photo_folder
from training.data.labels import match_labels
from training.data.sampling import EpochPhotos, balanced_order
from training.data.sources import gather, source_photos
from training.engine.linear_probe import fit_head
from training.recipe import Data, load_recipe


def test_train_and_val_folders_are_used_as_they_are(tmp_path):
    draw_dataset(tmp_path / "set" / "train", 3)
    draw_dataset(tmp_path / "set" / "val", 2, offset=100)
    train, val = gather(Data(train=("set:train",), val=("set:val",)), tmp_path)
    assert len(train) == 9 and len(val) == 6
    assert all(photo.path.parts[-3] == "val" for photo in val)


def test_folder_without_val_is_split_by_class_and_seed(tmp_path):
    draw_dataset(tmp_path / "set", 20)
    data = Data(train=("set:train",), val=("set:val",))
    train, val = gather(data, tmp_path)
    assert Counter(photo.label for photo in val) == dict.fromkeys(COLOURS, 4)
    assert not {photo.path for photo in train} & {photo.path for photo in val}
    assert gather(data, tmp_path) == (train, val)
    assert gather(data.model_copy(update={"split_seed": 1}), tmp_path)[1] != val


def test_rare_class_does_not_change_the_held_out_fraction_of_the_others(tmp_path):
    folder = draw_dataset(tmp_path / "set", 20)
    for number in range(2, 20):
        (folder / "red disc" / f"{number:03}.png").unlink()
    train, val = gather(Data(train=("set:train",), val=("set:val",)), tmp_path)
    assert len(val) <= 9
    assert {photo.label for photo in train} == set(COLOURS)


def test_exact_duplicates_are_not_split(tmp_path):
    folder = draw_dataset(tmp_path / "set", 10)
    for label in COLOURS:
        for number in range(10):
            shutil.copy(folder / label / f"{number:03}.png", folder / label / f"copy{number}.png")
    train, val = gather(Data(train=("set:train",), val=("set:val",)), tmp_path)
    contents = {photo.path.read_bytes() for photo in train}
    assert not any(photo.path.read_bytes() in contents for photo in val)
    assert len(train) + len(val) == 60


def test_training_photo_that_is_also_held_out_is_excluded(tmp_path, capsys):
    draw_dataset(tmp_path / "set" / "train", 3)
    draw_dataset(tmp_path / "set" / "val", 1)  # the same seeds: the same photos
    train, _ = gather(Data(train=("set:train",), val=("set:val",)), tmp_path)
    assert len(train) == 6
    assert "Left out (copies of held-out photos): 3 training photos" in capsys.readouterr().err


def test_renamed_classes_are_merged(tmp_path):
    draw_dataset(tmp_path / "one", 2)
    draw_dataset(tmp_path / "two", 2, offset=50)
    rename = {"red disc": "round", "blue disc": "round"}
    photos = source_photos("one", tmp_path, Data(train=("one",), val=("one",), rename=rename))
    assert {photo.label for photo in photos} == {"round", "yellow disc"}


def test_balanced_epoch_oversamples_rare_classes():
    targets = np.repeat([0, 1], [100, 4])
    rng = np.random.default_rng(0)
    counted = Counter(targets[balanced_order(targets, 0.0, rng)].tolist())
    equal = Counter(targets[balanced_order(targets, 1.0, rng)].tolist())
    assert counted == {0: 100, 1: 4}
    assert equal == {0: 52, 1: 52}


def test_sampling_is_determined_by_seed_and_epoch():
    targets = np.repeat([0, 1], [30, 5])
    draws = [
        balanced_order(targets, 0.5, np.random.default_rng(seed))
        for seed in [(0, 1), (0, 1), (0, 2)]
    ]
    assert draws[0] == draws[1] != draws[2]


class Dice:
    def __getitem__(self, index):
        return random.random(), np.random.rand(), torch.rand(()).item()


def test_augmentation_is_determined_by_the_position_in_the_epoch():
    drawn = EpochPhotos(Dice(), range(6), seed=3)
    alone = [drawn[position] for position in range(6)]
    assert len(set(alone)) == 6
    assert [tuple(item) for item in DataLoader(drawn, None, num_workers=2)] == alone
    assert EpochPhotos(Dice(), range(6), seed=4)[0] != alone[0]


def test_augmentation_restores_the_global_random_generators():
    def numbers_after(between):
        for set_seed in (random.seed, np.random.seed, torch.manual_seed):
            set_seed(0)
        between()
        return Dice()[0]

    drawn = EpochPhotos(Dice(), range(6), seed=3)
    assert numbers_after(lambda: drawn[1]) == numbers_after(lambda: None)


@pytest.mark.parametrize(
    ("device", "cores", "processes", "workers"),
    [("cpu", 2, 1, 0), ("cpu", 4, 2, 0), ("cpu", 4, 1, 4), ("cuda", 2, 1, 2), ("cuda", 64, 4, 8)],
)
def test_workers_are_used_when_there_are_spare_cores(
    monkeypatch, device, cores, processes, workers
):
    monkeypatch.setattr("flower_model.system.cores.usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert loader.worker_count(SimpleNamespace(device=torch.device(device))) == workers


def test_probe_fits_separable_classes():
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], 30)
    features = (rng.normal(size=(90, 8)) + 4 * np.eye(3, 8)[targets]).astype(np.float32)
    weight, bias = fit_head(features, targets, l2=0.01, balance=0.5)
    assert weight.shape == (3, 8) and bias.shape == (3,)
    assert ((features @ weight.T + bias).argmax(1) == targets).mean() > 0.95


def test_probe_has_two_outputs_for_two_classes():
    features = np.array([[0.0], [0.1], [0.9], [1.0]], np.float32)
    weight, bias = fit_head(features, np.array([0, 0, 1, 1]), l2=0.01, balance=0.0)
    assert ((features @ weight.T + bias).argmax(1) == [0, 0, 1, 1]).all()


def test_102_labels_are_distinct_and_no_alias_is_another_class_label():
    labels = [flower.label for flower in flowers102.flowers()]
    assert len(set(labels)) == len(labels) == 102
    for flower in flowers102.flowers():
        assert flower.oxford == flower.label or flower.oxford not in labels
        assert flower.family.endswith("aceae")
        assert flower.genus or flower.label == "bromeliad"
        assert flower.botanical.startswith(flower.genus or flower.family)


def test_misnamed_classes_have_the_name_of_the_plant_in_their_photos():
    botanical = {flower.oxford: flower.botanical for flower in flowers102.flowers()}
    assert botanical["fire lily"] == "Gloriosa superba"
    assert botanical["watercress"] == "Tropaeolum majus"
    assert botanical["geranium"].startswith("Pelargonium")


def test_photos_get_the_labels_of_models_with_former_or_other_names():
    photos = [Photo(Path("a.jpg"), label) for label in ("nasturtium", "geranium", "rose", "oak")]
    former = ModelConfig("resnet50", ("watercress", "rose"))
    assert [p.label for p in match_labels(photos, former)][::2] == ["watercress", "rose"]
    renamed = ModelConfig(
        "resnet50", ("nasturtium", "zonal geranium"), aliases={"geranium": "zonal geranium"}
    )
    labels = [p.label for p in match_labels(photos, renamed)]
    assert labels == ["nasturtium", "zonal geranium", "rose", "oak"]


@pytest.mark.parametrize("name", ["default", "flowers5", "flowers103", "report"])
def test_recipe_is_valid(name):
    assert load_recipe(name).finetune.epochs > 0


def test_oxford_photos_have_the_corrected_labels(flower_data):
    photos = source_photos("flowers102:val", flower_data, Data(train=("x",), val=("x",)))
    assert Counter(photo.label for photo in photos) == dict.fromkeys(
        (flower.label for flower in flowers102.flowers()), 10
    )


def test_names_equal_the_official_list(flower_data):
    import json

    listed = json.loads((flower_data / "flowers-102" / "cat_to_name.json").read_text())
    assert [flower.oxford for flower in flowers102.flowers()] == [
        listed[str(number)] for number in range(1, 103)
    ]


def test_hidden_files_are_ignored(tmp_path):
    folder = draw_dataset(tmp_path / "set", 1)
    (folder / "red disc" / ".DS_Store").write_bytes(b"x")
    assert len(read_photo_folder(folder).splits[""]) == 3


def test_missing_oxford_photos_raise_an_actionable_error(flower_data, tmp_path):
    (tmp_path / "flowers-102" / "jpg").mkdir(parents=True)
    for name in ("imagelabels.mat", "setid.mat"):
        shutil.copy(flower_data / "flowers-102" / name, tmp_path / "flowers-102")
    with pytest.raises(DataError, match="6149 photos of flowers102:test are missing: move .* away"):
        flowers102.photos(tmp_path, "test")
