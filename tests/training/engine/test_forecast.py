"""--explain prints the forecast of a run without starting it; shorthand options change the recipe."""

import argparse

import pytest

from flower_model.errors import RecipeError
from tests.support.drawn import draw_dataset
from tests.training.test_training import small_run
from training import train
from training.arguments import recipe_from_options, train_parser
from training.data.loader import batch_plan
from training.recipe import Recipe


@pytest.fixture(scope="module")
def explained(tmp_path_factory, run_module) -> tuple[list[str], bool]:
    """The lines printed by --explain, and whether the run's folder was created."""
    data = draw_dataset(tmp_path_factory.mktemp("data") / "discs")
    out = tmp_path_factory.mktemp("runs") / "explained"
    printed = run_module("training.train", *small_run(data, out, "--freeze", "2", "--explain"))
    assert printed.returncode == 0, printed.stderr
    return printed.stdout.splitlines(), out.exists()


def test_explain_prints_photos_and_network(explained):
    lines, _ = explained
    assert "for training" in lines[1] and "3 classes" in lines[1]
    assert "test_resnet from random weights" in lines[2]
    weights, trained = (float(word) for word in lines[3].split() if word[0].isdigit())
    assert 0 < trained < weights


def test_explain_estimates_every_phase(explained):
    lines, _ = explained
    phases = [line[2:12].strip() for line in lines[4:]]
    assert phases == ["decode", "probe", "fine-tune", "fine-tune", "validate", "total"]
    assert all(line.endswith((" s", " min", " h")) for line in lines[4:])
    assert "2 epochs at 48 pixels" in lines[6] and "2 epochs at 64 pixels" in lines[7]


def test_explain_counts_the_steps_of_an_epoch_as_the_run_does(explained, tmp_path):
    lines, _ = explained
    photos = int(lines[1].split()[1])
    data = draw_dataset(tmp_path / "discs", 1)
    recipe = recipe_from_options(train_parser().parse_args(small_run(data, tmp_path)))
    size, steps = batch_plan(photos, recipe.finetune)
    assert f"{steps} steps of {size} photos each" in lines[6]


def test_explain_does_not_train(explained):
    _, created = explained
    assert not created


def test_forecast_rejects_data_without_a_readable_photo(tmp_path, capsys):
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "data" / label / f"{number}.jpg").write_bytes(b"not a photo %d" % number)
    words = small_run(tmp_path / "data", tmp_path / "run", "--explain")
    assert train.main(words) == 2
    assert "None of the sampled photos can be opened" in capsys.readouterr().err


def recipe_of(*arguments: str) -> Recipe:
    """Return the recipe for these arguments of the command."""
    options: argparse.Namespace = train_parser().parse_args(["flowers5", *arguments])
    return recipe_from_options(options)


def test_shorthand_options_change_the_recipe():
    recipe = recipe_of("--epochs", "2", "--freeze", "3", "--image-size", "96")
    assert (recipe.finetune.epochs, recipe.finetune.freeze) == (2, 3)
    assert (recipe.finetune.image_sizes, recipe.model.test_size) == ((96,), 96)
    assert recipe.probe.image_size == 96


def test_set_options_are_merged_at_every_depth():
    renamed = [f"--set=data.rename.{word}='{word.title()}'" for word in ("rose", "tulip")]
    assert recipe_of(*renamed).data.rename == {"rose": "Rose", "tulip": "Tulip"}


def test_another_architecture_starts_from_weights_of_its_name(monkeypatch):
    monkeypatch.setenv("FLOWER_PRETRAINED", "of/a/resnet50")
    recipe = recipe_of("--model", "convnext_tiny")
    assert (recipe.model.architecture, recipe.model.pretrained) == ("convnext_tiny",) * 2
    random = recipe_of("--model", "convnext_tiny", "--set", "model.pretrained=''")
    assert random.model.pretrained == ""


def test_an_image_size_below_the_minimum_is_rejected(capsys):
    assert train.main(["flowers5", "--image-size", "8", "--explain"]) == 2
    assert "test_size" in capsys.readouterr().err


def test_streaming_requires_a_dataset():
    with pytest.raises(RecipeError, match="--stream requires --data"):
        recipe_of("--stream")
    assert recipe_of("--data", "hf://datasets/user/name", "--stream").data.stream
