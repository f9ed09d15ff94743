"""python -m training.average: the mean of two rounds' weights, calibrated; what it refuses."""

import pytest
import torch

from flower_model import FlowerClassifier
from tests.support.drawn import draw_dataset
from tests.training.test_training import small_run
from training import average, train


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """The data root, and the weights folders of two rounds on it."""
    root = tmp_path_factory.mktemp("average")
    data = draw_dataset(root / "discs")
    words = ["--data-root", str(root), "--epochs", "1"]
    assert train.main(small_run(data, root / "one", *words)) == 0
    first = root / "one" / "model"
    words += ["--pretrained", str(first), "--set", "probe=false"]
    assert train.main(small_run(data, root / "two", *words)) == 0
    return root, [first, root / "two" / "model"]


def run(rounds, out, *words):
    root, folders = rounds
    return average.main([*map(str, folders), "--out", str(out), "--data-root", str(root), *words])


def test_every_weight_is_the_mean_by_the_shares(rounds, tmp_path):
    assert run(rounds, tmp_path / "mean", "--shares", "3", "1") == 0
    first, second, mean = (
        FlowerClassifier.from_pretrained(folder).network.state_dict()
        for folder in (*rounds[1], tmp_path / "mean")
    )
    moved = 0
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            expected = 0.75 * first[name] + 0.25 * second[name]
            assert torch.allclose(tensor, expected, rtol=2e-3, atol=2e-3), name  # 16 bits
            moved += not torch.equal(first[name], second[name])
    assert moved > 10


def test_the_mean_is_calibrated_and_says_what_it_is_of(rounds, tmp_path):
    assert run(rounds, tmp_path / "mean") == 0
    details = FlowerClassifier.from_pretrained(tmp_path / "mean").config.details
    assert [text.partition(" ")[0] for text in details["averaged"]] == ["50%", "50%"]
    assert {"metrics", "per_class", "calibration"} <= set(details)
    assert "mean of these rounds" in (tmp_path / "mean" / "README.md").read_text(encoding="utf-8")


def test_a_mean_of_a_mean_is_of_all_rounds_in_it(rounds):
    mean = average.average(rounds[1], [1, 4])
    mean.save_pretrained(folder := rounds[0] / "mean")
    further = average.average([folder, rounds[1][0]], [3, 1])
    shares = [text.partition(" ")[0] for text in further.config.details["averaged"]]
    assert shares == ["15%", "60%", "25%"]


def test_models_that_differ_are_refused(rounds, tmp_path, tiny_folder, capsys):
    root, folders = rounds
    words = [str(tiny_folder), str(folders[1]), "--out", str(tmp_path / "mean")]
    assert average.main([*words, "--data-root", str(root)]) == 2
    assert "differ in architecture or labels" in capsys.readouterr().err


def test_rounds_that_held_out_different_photos_are_refused(rounds, tmp_path, capsys):
    root, [first, _] = rounds
    words = ["--data-root", str(root), "--epochs", "1", "--pretrained", str(first)]
    other = small_run(root / "discs", tmp_path / "other", *words, "--set", "data.split_seed=1")
    assert train.main(other) == 0
    assert "it may know some of those that measure it now" in capsys.readouterr().err
    words = [str(first), str(tmp_path / "other" / "model"), "--out", str(tmp_path / "mean")]
    assert average.main([*words, "--data-root", str(root)]) == 2
    assert "held out different photos" in capsys.readouterr().err


def test_shares_that_do_not_fit_are_refused(rounds, tmp_path, capsys):
    assert run(rounds, tmp_path / "mean", "--shares", "1") == 2
    assert "--shares" in capsys.readouterr().err


def test_a_folder_that_exists_is_refused_and_kept(rounds, tmp_path, capsys):
    assert run(rounds, tmp_path) == 2
    assert "exists" in capsys.readouterr().err
