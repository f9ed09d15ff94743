"""Settings that would fail during a run are refused before it starts, in one sentence."""

import pytest
import timm
import torch

from flower_model.errors import DataError, RecipeError
from tests.support.drawn import draw_dataset
from tests.training.test_training import small_run
from training import train
from training.data.sources import gather
from training.engine.preflight import check_network, check_settings, explain_out_of_memory
from training.recipe import Data, load_recipe


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("data") / "discs", 5)


def recipe_with(**finetune):
    return load_recipe("flowers5", {"finetune": finetune})


@pytest.fixture(scope="module")
def accelerator():
    return train.prepare_accelerator(load_recipe("flowers5"))


@pytest.mark.parametrize(
    ("finetune", "sentence"),
    [
        ({"optimizer": "adamm"}, "no optimizer 'adamm'"),
        ({"optimizer": "fusedlamb"}, "can't be fusedlamb here"),
        ({"optimizer": "adahessian"}, "can't be adahessian, which needs second derivatives"),
        ({"rand_augment": "random"}, "rand-m7-n2-mstd0.5"),
        ({"batch_size": 32, "accumulate": 3}, "a multiple of 3"),
        ({"batch_size": 15, "cutmix": 1.0}, "a multiple of 2, which mixup requires"),
        ({"batch_size": 8, "accumulate": 8, "mixup": 0.2}, "a multiple of 16"),
    ],
)
def test_settings_unsupported_by_the_libraries_are_rejected(accelerator, finetune, sentence):
    with pytest.raises(RecipeError, match=sentence):
        check_settings(recipe_with(**finetune), accelerator)


@pytest.mark.parametrize(
    "change",
    [
        {"finetune": {"image_sizes": [-3]}},
        {"model": {"test_size": 100_000}},
        {"data": {"rename": {"rose": ""}}},
        {"data": {"val_fraction": 0.9}},
        {"seed": -1},
        {"name": "../elsewhere"},
    ],
)
def test_out_of_range_values_are_rejected(change):
    with pytest.raises(RecipeError, match="Recipe 'flowers5', key '"):
        load_recipe("flowers5", change)


def test_section_given_as_a_value_is_rejected(capsys):
    assert train.main(["flowers5", "--set", "finetune=3"]) == 2
    assert "finetune is a section" in capsys.readouterr().err


def test_probe_of_a_network_with_two_heads_is_rejected():
    network = timm.create_model("levit_128s", num_classes=2)
    recipe = load_recipe("flowers5", {"model": {"architecture": "levit_128s"}})
    with pytest.raises(RecipeError, match="levit_128s has no linear head"):
        check_network(network, recipe)


def test_image_size_unsupported_by_the_network_is_rejected():
    network = timm.create_model("vit_tiny_patch16_224", num_classes=2)
    model = {"architecture": "vit_tiny_patch16_224"}
    recipe = load_recipe("flowers5", {"model": model, "finetune": {"image_sizes": [96]}})
    with pytest.raises(
        RecipeError, match="vit_tiny_patch16_224 doesn't accept photos of 96 pixels"
    ):
        check_network(network, recipe)


@pytest.mark.parametrize("use", ["test", "calibrate"])
def test_sources_needed_after_training_are_checked_before_it(dataset, use):
    data = Data(train=(f"{dataset}:train",), val=(f"{dataset}:val",), **{use: ("later:val",)})
    with pytest.raises(DataError, match="data folder .*later' doesn't exist"):
        gather(data, dataset.parent)


def test_test_photos_of_an_untrained_class_are_rejected_before_training(dataset, tmp_path):
    other = draw_dataset(tmp_path / "others", 2)
    (other / "red disc").rename(other / "red square")
    data = Data(train=(f"{dataset}:train",), val=(f"{dataset}:val",), test=(str(other),))
    with pytest.raises(DataError, match="Class 'red square' of .* is not among the model's labels"):
        gather(data, dataset.parent)


def test_class_folder_with_an_invalid_label_is_rejected_before_training(tmp_path):
    odd = draw_dataset(tmp_path / "odd", 4)
    (odd / "red disc").rename(odd / "red\x1bdisc")  # a terminal would obey it
    data = Data(train=(f"{odd}:train",), val=(f"{odd}:val",))
    with pytest.raises(DataError, match=r"'red\\x1bdisc' can't be a label"):
        gather(data, tmp_path)


def test_two_photos_per_class_are_enough(tmp_path, run_module):
    data = draw_dataset(tmp_path / "two", 2)
    printed = run_module("training.train", *small_run(data, tmp_path / "run", "--epochs", "1"))
    assert printed.returncode == 0, printed.stderr
    assert (tmp_path / "run" / "suspects.csv").exists()


def test_out_of_memory_is_reported_in_one_sentence():
    with (
        pytest.raises(RecipeError, match="Out of memory. Lower finetune.batch_size"),
        explain_out_of_memory(),
    ):
        torch.empty(10**15)


def test_unexpected_error_keeps_its_type_name():
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory():
        torch.ones(2) @ torch.ones(3, 3)


def test_optimizers_without_fused_implementation_train(dataset, tmp_path, run_module):
    more = ["--epochs", "1", "--set", "finetune.optimizer='lion'", "--set", "finetune.lr=1e-4"]
    printed = run_module("training.train", *small_run(dataset, tmp_path / "run", *more))
    assert printed.returncode == 0, printed.stderr
