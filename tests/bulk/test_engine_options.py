"""Mistakes on the command line of --engine ray."""

import sys

import pytest

from flower_model.cli.main import main


@pytest.fixture
def run(capsys, flower_photo, tiny_folder):
    def run(*words):
        code = main([str(flower_photo), "--model", str(tiny_folder), *map(str, words)])
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("words", [(), ("--output", "answers", "--shard", "1/2")])
def test_ray_needs_an_output_folder_and_no_shard(run, words):
    code, error = run("--engine", "ray", *words)
    assert code == 2 and "--engine ray requires --output" in error


@pytest.mark.parametrize("words", [("--cores-per-worker", "2"), ("--column", "image")])
def test_options_of_ray_are_refused_without_it(run, tmp_path, words):
    code, error = run("--output", tmp_path / "answers.csv", *words)
    assert code == 2 and error == "--cores-per-worker and --column require --engine ray.\n"
    assert list(tmp_path.iterdir()) == []


def test_missing_ray_is_reported(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, error = run("--engine", "ray", "--output", tmp_path / "answers")
    assert code == 2
    assert error == "--engine ray needs Ray: pip install '.[ray]' in a clone of this project.\n"


def test_missing_photos_are_reported(run, tmp_path, capsys, tiny_folder):
    words = [str(tmp_path / "*.jpg"), "--model", str(tiny_folder), "--engine", "ray"]
    assert main([*words, "--output", str(tmp_path / "answers")]) == 2
    assert "No photos found in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_missing_bucket_of_the_output_is_reported(run, s3):
    code, error = run("--engine", "ray", "--output", "s3://nowhere/answers")
    assert code == 2 and "'s3://nowhere/answers' can't be written" in error
    assert len(error.splitlines()) == 1
