"""Splits that do not leak, draws that balance, and batches that repeat."""

import random
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flower_model.errors import DataError
from tests.support.drawn import COLOURS, draw_dataset
from training.data import flowers102
from training.data import loader as batches
from training.data.sampling import BalancedSampler, DrawnPhotos
from training.data.sources import class_folders, gather, source_photos
from training.engine.linear_probe import fit_head
from training.recipe import Data, load_recipe


def test_train_and_val_folders_are_used_as_they_are(tmp_path):
    draw_dataset(tmp_path / "set" / "train", 3)
    draw_dataset(tmp_path / "set" / "val", 2, offset=100)
    train, val = gather(Data(train=("set:train",), val=("set:val",)), tmp_path)
    assert len(train) == 9 and len(val) == 6
    assert all(photo.path.parts[-3] == "val" for photo in val)


def test_a_folder_without_a_split_is_divided_by_class_and_by_seed(tmp_path):
    draw_dataset(tmp_path / "set", 20)
    data = Data(train=("set:train",), val=("set:val",))
    train, val = gather(data, tmp_path)
    assert Counter(photo.label for photo in val) == dict.fromkeys(COLOURS, 4)
    assert not {photo.path for photo in train} & {photo.path for photo in val}
    assert gather(data, tmp_path) == (train, val)
    assert gather(data.model_copy(update={"split_seed": 1}), tmp_path)[1] != val


def test_a_rare_class_does_not_cost_the_others_their_photos(tmp_path):
    folder = draw_dataset(tmp_path / "set", 20)
    for number in range(2, 20):
        (folder / "red disc" / f"{number:03}.png").unlink()
    train, val = gather(Data(train=("set:train",), val=("set:val",)), tmp_path)
    assert len(val) <= 9
    assert {photo.label for photo in train} == set(COLOURS)


def test_exact_duplicates_stay_on_one_side(tmp_path):
    folder = draw_dataset(tmp_path / "set", 10)
    for label in COLOURS:
        for number in range(10):
            shutil.copy(folder / label / f"{number:03}.png", folder / label / f"copy{number}.png")
    train, val = gather(Data(train=("set:train",), val=("set:val",)), tmp_path)
    contents = {photo.path.read_bytes() for photo in train}
    assert not any(photo.path.read_bytes() in contents for photo in val)
    assert len(train) + len(val) == 60


def test_a_training_photo_that_is_also_held_out_is_left_out(tmp_path, capsys):
    draw_dataset(tmp_path / "set" / "train", 3)
    draw_dataset(tmp_path / "set" / "val", 1)  # the same seeds: the same photos
    train, _ = gather(Data(train=("set:train",), val=("set:val",)), tmp_path)
    assert len(train) == 6
    assert "3 training photos are also held out" in capsys.readouterr().out


def test_sources_combine_and_classes_merge_by_name(tmp_path):
    draw_dataset(tmp_path / "one", 2)
    draw_dataset(tmp_path / "two", 2, offset=50)
    rename = {"red disc": "round", "blue disc": "round"}
    photos = source_photos("one", tmp_path, Data(train=("one",), val=("one",), rename=rename))
    assert {photo.label for photo in photos} == {"round", "yellow disc"}


def test_an_epoch_draws_rare_classes_more_often_than_they_occur():
    targets = np.repeat([0, 1], [100, 4])
    counted = Counter(targets[list(BalancedSampler(targets, 0.0, seed=0, epoch=0))].tolist())
    equal = Counter(targets[list(BalancedSampler(targets, 1.0, seed=0, epoch=0))].tolist())
    assert counted == {0: 100, 1: 4}
    assert equal == {0: 52, 1: 52}


def test_an_epochs_draw_follows_from_seed_and_epoch():
    targets = np.repeat([0, 1], [30, 5])
    draws = [
        list(BalancedSampler(targets, 0.5, seed, epoch)) for seed, epoch in [(0, 1), (0, 1), (0, 2)]
    ]
    assert draws[0] == draws[1] != draws[2]


class Dice:
    def __getitem__(self, index):
        return random.random(), np.random.rand(), torch.rand(()).item()


def test_what_a_transform_draws_follows_from_the_photos_place_alone():
    drawn = DrawnPhotos(Dice(), range(6), seed=3)
    alone = [drawn[place] for place in range(6)]
    assert len(set(alone)) == 6
    assert [tuple(item) for item in DataLoader(drawn, None, num_workers=2)] == alone
    assert DrawnPhotos(Dice(), range(6), seed=4)[0] != alone[0]


def test_drawing_a_photo_disturbs_no_other_random_numbers():
    def thrown(between):
        for set_seed in (random.seed, np.random.seed, torch.manual_seed):
            set_seed(0)
        between()
        return Dice()[0]

    drawn = DrawnPhotos(Dice(), range(6), seed=3)
    assert thrown(lambda: drawn[1]) == thrown(lambda: None)


@pytest.mark.parametrize(
    ("device", "cores", "processes", "workers"),
    [("cpu", 2, 1, 0), ("cpu", 4, 2, 0), ("cpu", 4, 1, 4), ("cuda", 2, 1, 2), ("cuda", 64, 4, 8)],
)
def test_photos_are_transformed_beside_the_network_where_there_is_room(
    monkeypatch, device, cores, processes, workers
):
    monkeypatch.setattr("flower_model.system.cores.usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert batches.worker_count(SimpleNamespace(device=torch.device(device))) == workers


def test_the_probe_separates_what_can_be_separated():
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], 30)
    features = (rng.normal(size=(90, 8)) + 4 * np.eye(3, 8)[targets]).astype(np.float32)
    weight, bias = fit_head(features, targets, l2=0.01, balance=0.5)
    assert weight.shape == (3, 8) and bias.shape == (3,)
    assert ((features @ weight.T + bias).argmax(1) == targets).mean() > 0.95


def test_the_probe_gives_two_classes_two_outputs():
    features = np.array([[0.0], [0.1], [0.9], [1.0]], np.float32)
    weight, bias = fit_head(features, np.array([0, 0, 1, 1]), l2=0.01, balance=0.0)
    assert ((features @ weight.T + bias).argmax(1) == [0, 0, 1, 1]).all()


def test_the_102_names_are_english_botanical_and_distinct():
    names = flowers102.class_names()
    assert len({english for english, _ in names}) == len(names) == 102
    assert names[0] == ("pink primrose", "Oenothera speciosa")
    assert names[73] == ("rose", "Rosa")


@pytest.mark.parametrize("name", ["default", "flowers5", "flowers103", "report"])
def test_every_recipe_can_be_read(name):
    assert load_recipe(name).finetune.epochs > 0


def test_oxfords_photos_come_with_their_names(flower_data):
    photos = source_photos("flowers102:val", flower_data, Data(train=("x",), val=("x",)))
    assert Counter(photo.label for photo in photos) == dict.fromkeys(
        (english for english, _ in flowers102.class_names()), 10
    )


def test_the_names_are_those_of_the_data_sets_own_list(flower_data):
    import json

    listed = json.loads((flower_data / "flowers-102" / "cat_to_name.json").read_text())
    assert [english for english, _ in flowers102.class_names()] == [
        listed[str(number)] for number in range(1, 103)
    ]


def test_class_folders_ignores_hidden_files(tmp_path):
    folder = draw_dataset(tmp_path / "set", 1)
    (folder / "red disc" / ".DS_Store").write_bytes(b"x")
    assert len(class_folders(folder)) == 3


def test_missing_photos_of_oxford_are_told_with_what_to_do(flower_data, tmp_path):
    (tmp_path / "flowers-102" / "jpg").mkdir(parents=True)
    for name in ("imagelabels.mat", "setid.mat"):
        shutil.copy(flower_data / "flowers-102" / name, tmp_path / "flowers-102")
    with pytest.raises(DataError, match="6149 photos of flowers102:test are missing: move .* away"):
        flowers102.photos(tmp_path, "test")
