"""Loading a FlowerClassifier from the Hub or its cache, and repositories that are not models."""

import json

import pytest

from flower_model.config import read_config
from tests.support.commands import assert_one_sentence
from tests.support.hub import REPO


def test_other_spellings_of_the_repository_load_it(repo, python, tmp_path):
    repo.add_commit(REPO, {"model.safetensors": b"broken"})
    commit = repo.commits(REPO)[1].oid
    names = [
        f"hf-hub:{REPO}@{commit}",
        f"hf://{REPO}@{commit}",
        f"{repo.endpoint}/{REPO}/tree/{commit}",
    ]
    program = """
import sys
from flower_model import FlowerClassifier
for name in sys.argv[1:]:
    print(FlowerClassifier.from_pretrained(name).labels[0])
"""
    printed = python(program, *names, **repo.environment(tmp_path))
    assert printed.stdout.split() == ["daisy"] * 3, printed.stderr


def test_only_required_files_are_downloaded(repo, name_photo, tmp_path):
    repo.add_commit(REPO, {"pytorch_model.bin": b"pickle", "notes.txt": b"x", "big.onnx": b"y"})
    answer = name_photo(repo, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert {r.file for r in repo.downloads()} == {"config.json", "model.safetensors"}


def test_cached_model_loads_without_network(repo, name_photo, tmp_path):
    first = name_photo(repo, tmp_path)
    repo.stop()
    second = name_photo(repo, tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


@pytest.mark.parametrize("status", [429, 503])
def test_cached_model_loads_while_the_hub_is_overloaded(repo, name_photo, tmp_path, status):
    first = name_photo(repo, tmp_path)
    repo.refuse("HEAD", "config.json", status=status, times=50)
    second = name_photo(repo, tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


def test_commit_hash_pins_the_model(repo, python, tiny_folder, tmp_path):
    pinned = repo.commits(REPO)[0].oid
    config = json.loads((tiny_folder / "config.json").read_text())
    config["label_names"] = [f"new {name}" for name in config["label_names"]]
    repo.add_commit(REPO, {"config.json": json.dumps(config).encode()})
    program = """
import sys
from flower_model import FlowerClassifier
for revision in sys.argv[1:]:
    print(FlowerClassifier.from_pretrained("flora/meadow", revision=revision).labels[0])
"""
    printed = python(program, pinned, "main", **repo.environment(tmp_path))
    assert printed.stdout.split("\n")[:2] == ["daisy", "new daisy"], printed.stderr


def test_timm_model_without_labels_gets_imagenet_labels(tmp_path):
    config = {"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    labels = read_config(tmp_path / "config.json").labels
    assert labels[0] == "tench, Tinca tinca" and len(set(labels)) == 1000


def test_private_repository_requires_a_token(hub, tiny_folder, name_photo, tmp_path):
    token = hub.add_user("flora")
    files = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    hub.add_repo(REPO, files, private=True)
    refused = name_photo(hub, tmp_path / "a")
    assert_one_sentence(refused, REPO, "private", "hf auth login")
    answer = name_photo(hub, tmp_path / "b", token=token)
    assert answer.returncode == 0, answer.stderr


def test_references_come_along_and_their_absence_is_asked_for_once(repo, name_photo, tmp_path):
    assert name_photo(repo, tmp_path / "before").returncode == 0
    first = len(repo.log)
    assert name_photo(repo, tmp_path / "before").returncode == 0
    assert not any("references" in request.path for request in repo.log[first:])
    repo.add_commit(REPO, {"references.safetensors": b"features"})
    assert name_photo(repo, tmp_path / "after").returncode == 0
    assert [*(tmp_path / "after").rglob("snapshots/*/references.safetensors")]


# Repositories that are not models


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"config.json": None}, ["no config.json"]),
        ({"model.safetensors": None}, ["no model.safetensors"]),
        (
            {"model.safetensors": None, "pytorch_model.bin": b"cos\nsystem\n"},
            ["pickle", "pytorch_model.bin", "safetensors"],
        ),
        ({"config.json": b'{"num_classes": 5}'}, ["no architecture key"]),
        ({"config.json": b"{"}, ["not valid JSON"]),
    ],
    ids=lambda value: None if isinstance(value, dict) else "-".join(value),
)
def test_repository_that_is_not_a_model_is_refused(
    hub, tiny_folder, name_photo, tmp_path, files, parts
):
    there = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    changed = {name: content for name, content in (there | files).items() if content is not None}
    hub.add_repo(REPO, changed)
    assert_one_sentence(name_photo(hub, tmp_path), *parts)


def test_cache_folder_below_the_home_folder_works_offline(repo, python, tmp_path):
    program = """
from flower_model import FlowerClassifier
print(FlowerClassifier.from_pretrained("flora/meadow", cache_dir="~/models").labels[0])
"""
    env = repo.environment(tmp_path) | {"HOME": str(tmp_path / "home")}
    assert python(program, **env).stdout == "daisy\n"
    repo.stop()
    offline = python(program, **env)
    assert offline.stdout == "daisy\n", offline.stderr


def test_interrupted_update_leaves_the_former_commit_to_offline_starts(repo, name_photo, tmp_path):
    first = name_photo(repo, tmp_path)
    content = repo.files(REPO)["model.safetensors"]
    config = repo.files(REPO)["config.json"] + b" "
    newest = repo.add_commit(REPO, {"config.json": config, "model.safetensors": content + b" "})
    repo.cut("GET", "model.safetensors", after=1000, times=50)
    assert_one_sentence(name_photo(repo, tmp_path), "connection")
    repo.stop()
    offline = name_photo(repo, tmp_path)
    assert offline.returncode == 0, offline.stderr
    assert offline.stdout == first.stdout
    assert newest not in [ref.read_text() for ref in tmp_path.rglob("refs/main")]


def test_complete_update_is_what_offline_starts_find(repo, name_photo, tmp_path):
    name_photo(repo, tmp_path)
    repo.add_commit(
        REPO, {"config.json": repo.files(REPO)["config.json"].replace(b"daisy", b"aster")}
    )
    assert "aster" in name_photo(repo, tmp_path).stdout
    repo.stop()
    assert "aster" in name_photo(repo, tmp_path).stdout
