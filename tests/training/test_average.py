"""python -m training.average: weighted averages of two runs, their calibration and input errors."""

import pytest
import torch

from flower_model import FlowerClassifier
from tests.support.drawn import draw_dataset
from tests.training.test_training import small_run
from training import average, train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The data root, and the weights folders of two runs on it."""
    root = tmp_path_factory.mktemp("average")
    data = draw_dataset(root / "discs")
    words = ["--data-root", str(root), "--epochs", "1"]
    assert train.main(small_run(data, root / "one", *words)) == 0
    first = root / "one" / "model"
    words += ["--pretrained", str(first), "--set", "probe=false"]
    assert train.main(small_run(data, root / "two", *words)) == 0
    return root, [first, root / "two" / "model"]


def run(runs, out, *words):
    root, folders = runs
    return average.main([*map(str, folders), "--out", str(out), "--data-root", str(root), *words])


def test_every_tensor_is_the_weighted_average(runs, tmp_path):
    assert run(runs, tmp_path / "mean", "--weights", "3", "1") == 0
    first, second, mean = (
        FlowerClassifier.from_pretrained(folder).network.state_dict()
        for folder in (*runs[1], tmp_path / "mean")
    )
    moved = 0
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            expected = 0.75 * first[name] + 0.25 * second[name]
            assert torch.allclose(tensor, expected, rtol=2e-3, atol=2e-3), name  # 16 bits
            moved += not torch.equal(first[name], second[name])
    assert moved > 10


def test_average_is_calibrated_and_records_its_runs(runs, tmp_path):
    assert run(runs, tmp_path / "mean") == 0
    details = FlowerClassifier.from_pretrained(tmp_path / "mean").config.details
    assert [text.partition(" ")[0] for text in details["averaged"]] == ["50%", "50%"]
    assert {"metrics", "per_class", "calibration"} <= set(details)
    assert "Weights averaged over these runs" in (tmp_path / "mean" / "README.md").read_text(
        encoding="utf-8"
    )


def test_average_of_an_average_records_all_runs(runs):
    mean = average.average(runs[1], [1, 4])
    mean.save_pretrained(folder := runs[0] / "mean")
    further = average.average([folder, runs[1][0]], [3, 1])
    weights = [text.partition(" ")[0] for text in further.config.details["averaged"]]
    assert weights == ["15%", "60%", "25%"]


def test_models_with_different_labels_are_rejected(runs, tmp_path, tiny_folder, capsys):
    root, folders = runs
    words = [str(tiny_folder), str(folders[1]), "--out", str(tmp_path / "mean")]
    assert average.main([*words, "--data-root", str(root)]) == 2
    assert "differ in architecture or labels" in capsys.readouterr().err


def test_runs_with_different_held_out_photos_are_rejected(runs, tmp_path, capsys):
    root, [first, _] = runs
    words = ["--data-root", str(root), "--epochs", "1", "--pretrained", str(first)]
    other = small_run(root / "discs", tmp_path / "other", *words, "--set", "data.split_seed=1")
    assert train.main(other) == 0
    assert "it may have been trained on some of the photos held out now" in capsys.readouterr().err
    words = [str(first), str(tmp_path / "other" / "model"), "--out", str(tmp_path / "mean")]
    assert average.main([*words, "--data-root", str(root)]) == 2
    assert "held out different photos" in capsys.readouterr().err


def test_wrong_number_of_weights_is_rejected(runs, tmp_path, capsys):
    assert run(runs, tmp_path / "mean", "--weights", "1") == 2
    assert "--weights" in capsys.readouterr().err


def test_existing_out_folder_is_rejected_and_kept(runs, tmp_path, capsys):
    assert run(runs, tmp_path) == 2
    assert "exists" in capsys.readouterr().err
