"""FlowerClassifier on the Hub: pushing, loading, and the error messages when either fails."""

import json
import os
import re
import subprocess
import sys

import pytest
from safetensors.torch import save

from flower_model.cli.common import WEIGHTS
from flower_model.config import read_config
from tests.support.commands import ROOT, assert_one_sentence

REPO = "flora/meadow"
NEEDED = (
    "config.json",
    "model.safetensors",
    "rejection.safetensors",
    "quantization.safetensors",
)
PICTURE = b"\x89PNG\r\n\x1a\n of a curve"


@pytest.fixture
def token(hub):
    return hub.add_user("flora")


@pytest.fixture
def repo(hub, tiny_folder):
    """`REPO` with the files of `tiny_folder`."""
    hub.add_user("flora")
    hub.add_repo(REPO, {file.name: file.read_bytes() for file in tiny_folder.iterdir()})
    return hub


@pytest.fixture
def python(tmp_path):
    """`python("print(1)", **env)` runs code in a fresh process, in an empty folder."""

    def run(program, *words, **env):
        (tmp_path / "empty").mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            cwd=tmp_path / "empty",
            env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def name_photo(run_module, photo, hub, home, *words, token=None):
    """Run `python -m flower_model photo --model flora/meadow` in a fresh process with a separate cache."""
    env = hub.environment(home, token)
    return run_module("flower_model", photo, "--model", REPO, "--json", *words, **env)


# Push and load


PUSH = """
import sys
from flower_model import FlowerClassifier, FlowerModelError
model = FlowerClassifier.from_pretrained(sys.argv[1])
model.pictures["training-curve.png"] = bytes.fromhex(sys.argv[2])
for options in eval(sys.argv[3]):
    model.pictures["training-curve.png"] += b"."  # otherwise the commit would be empty
    try:
        commit = model.push_to_hub(**options)
        print(commit.pr_url or commit.commit_url)
    except FlowerModelError as error:
        print(type(error).__name__, error)
"""

PULL = """
import json, sys, timm, torch
from transformers import pipeline
from flower_model import FlowerClassifier
repo, folder = sys.argv[1:]
pixels = torch.linspace(-2, 2, 3 * 160 * 160).reshape(1, 3, 160, 160)
ours = FlowerClassifier.from_pretrained(repo)
theirs = timm.create_model(f"hf-hub:{repo}", pretrained=True).eval()
third = pipeline("image-classification", model=repo)
with torch.inference_mode():
    logits = ours.network(pixels)
    print(json.dumps({
        "as the folder": torch.equal(logits, FlowerClassifier.from_pretrained(folder).network(pixels)),
        "timm": (theirs(pixels) - logits).abs().max().item(),
        "transformers": (third.model(pixels).logits - logits).abs().max().item(),
        "labels": [ours.labels, [third.model.config.id2label[i] for i in range(5)]],
    }))
"""


def test_pushed_model_has_the_same_logits_in_timm_and_transformers(
    hub, token, python, tiny_folder, tiny_model, tmp_path
):
    pushes = [{"repo_id": REPO, "private": True, "commit_message": "First bloom"}]
    pushed = python(
        PUSH, tiny_folder, PICTURE.hex(), pushes, **hub.environment(tmp_path / "a", token)
    )
    assert "/commit/" in pushed.stdout, pushed.stderr
    assert hub.commits(REPO)[0].title == "First bloom"
    pulled = python(PULL, REPO, tiny_folder, **hub.environment(tmp_path / "b", token))
    assert pulled.returncode == 0, pulled.stderr
    result = json.loads(pulled.stdout)
    assert result["as the folder"] is True
    assert result["timm"] <= 1e-3 and result["transformers"] <= 1e-3
    assert result["labels"] == [tiny_model.labels, tiny_model.labels]


def test_quantization_is_pushed_and_pulled(hub, token, python, quantized_folder, tmp_path):
    pushes = [{"repo_id": REPO}]
    home = hub.environment(tmp_path, token)
    pushed = python(PUSH, quantized_folder, PICTURE.hex(), pushes, **home)
    assert "/commit/" in pushed.stdout, pushed.stderr
    file = "quantization.safetensors"
    assert hub.files(REPO)[file] == (quantized_folder / file).read_bytes()
    program = """
import sys
from flower_model import FlowerClassifier
print(FlowerClassifier.from_pretrained(sys.argv[1], device="cpu", precision="int8").runtime.name)
"""
    pulled = python(program, REPO, **hub.environment(tmp_path / "other", token))
    assert pulled.stdout == "OpenVINO on cpu, int8\n", pulled.stderr


def test_push_includes_card_and_plots_on_branches_and_pull_requests(
    hub, token, python, tiny_folder, tmp_path
):
    hub.add_repo(REPO, {"rejection.safetensors": b"of an earlier model"})
    pushes = [
        {"repo_id": REPO},
        {"repo_id": REPO, "revision": "spring", "commit_message": "On a branch"},
        {"repo_id": REPO, "create_pr": True, "commit_message": "For review"},
        {"repo_id": "flora/not--a--name"},
        {"repo_id": "somebody/else"},
    ]
    env = hub.environment(tmp_path, token)
    lines = python(PUSH, tiny_folder, PICTURE.hex(), pushes, **env).stdout.splitlines()
    assert hub.files(REPO)["training-curve.png"] == PICTURE + b"."
    assert "rejection.safetensors" not in hub.files(REPO)
    card = hub.files(REPO)["README.md"].decode()
    assert f'from_pretrained("{REPO}")' in card and f"hf-hub:{REPO}" in card
    assert "training-curve.png" in card
    assert hub.commits(REPO, "spring")
    assert re.search(r"/discussions/1$", lines[2])
    assert len(hub.commits(REPO)) == 3  # the initial commit, the earlier model and the first push
    assert re.match("HubError .*Write it like user/repo", lines[3])
    assert re.match("HubError .*may not write to 'somebody/else'", lines[4])


def test_code_examples_in_the_card_run(
    repo, python, tiny_model, tiny_folder, flower_photo, tmp_path
):
    from flower_model.serialization.model_card import render_model_card

    blocks = re.findall(
        "```python\n(.*?)```", render_model_card(tiny_model.config, REPO), re.DOTALL
    )
    assert len(blocks) == 3
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "photo.jpg").write_bytes(flower_photo.read_bytes())
    result = python("\n".join(blocks), **repo.environment(tmp_path))
    assert result.returncode == 0, result.stderr
    ours, timms, transformers = result.stdout.splitlines()
    label = tiny_model.predict(flower_photo).label
    assert label in ours and timms == label and f"'{label}'" in transformers


@pytest.mark.parametrize("space", ["\n", " ", "\r\n"])
def test_push_with_whitespace_around_the_token(hub, token, python, tiny_folder, tmp_path, space):
    pushes = [{"repo_id": REPO, "token": space + token + space}]
    pushed = python(PUSH, tiny_folder, PICTURE.hex(), pushes, **hub.environment(tmp_path))
    assert "/commit/" in pushed.stdout and token not in pushed.stdout + pushed.stderr


@pytest.mark.parametrize("token", ["hf_wrongTOKEN0123456789", "hf_wrong TOKEN0123456789"])
def test_rejected_token_is_not_printed(hub, python, tiny_folder, tmp_path, token):
    pushes = [{"repo_id": REPO, "token": token}]
    pushed = python(PUSH, tiny_folder, PICTURE.hex(), pushes, **hub.environment(tmp_path))
    assert pushed.stdout.startswith("HubError The Hub") and "TOKEN" not in pushed.stdout
    assert "TOKEN" not in pushed.stderr


# Load


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
    print(FlowerClassifier.from_pretrained(name, runtime="torch", device="cpu").labels[0])
"""
    printed = python(program, *names, **repo.environment(tmp_path))
    assert printed.stdout.split() == ["daisy"] * 3, printed.stderr


def test_only_required_files_are_downloaded(repo, run_module, flower_photo, tmp_path):
    repo.add_commit(REPO, {"pytorch_model.bin": b"pickle", "notes.txt": b"x", "big.onnx": b"y"})
    answer = name_photo(run_module, flower_photo, repo, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert {r.file for r in repo.downloads()} == {"config.json", "model.safetensors"}


def test_cached_model_loads_without_network(repo, run_module, flower_photo, tmp_path):
    first = name_photo(run_module, flower_photo, repo, tmp_path)
    repo.stop()
    second = name_photo(run_module, flower_photo, repo, tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


@pytest.mark.parametrize("status", [429, 503])
def test_cached_model_loads_while_the_hub_is_overloaded(
    repo, run_module, flower_photo, tmp_path, status
):
    first = name_photo(run_module, flower_photo, repo, tmp_path)
    repo.refuse("HEAD", "config.json", status=status, times=50)
    second = name_photo(run_module, flower_photo, repo, tmp_path)
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


def test_private_repository_requires_a_token(hub, tiny_folder, run_module, flower_photo, tmp_path):
    token = hub.add_user("flora")
    files = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    hub.add_repo(REPO, files, private=True)
    refused = name_photo(run_module, flower_photo, hub, tmp_path / "a")
    assert_one_sentence(refused, REPO, "private", "hf auth login")
    answer = name_photo(run_module, flower_photo, hub, tmp_path / "b", token=token)
    assert answer.returncode == 0, answer.stderr


# Repositories that are not models


def changed_config(**changes):
    return lambda config: json.dumps(json.loads(config) | changes).encode()


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"config.json": None}, ["no config.json"]),
        ({"model.safetensors": None}, ["no model.safetensors"]),
        (
            {"model.safetensors": None, "pytorch_model.bin": b"cos\nsystem\n"},
            ["pickle", "pytorch_model.bin", "safetensors"],
        ),
        (
            {"config.json": changed_config(architecture="resnet5000")},
            ["resnet5000", "does not have"],
        ),
        (
            {"config.json": changed_config(label_names=["a", "b"], num_classes=2)},
            ["2 labels", "fc.weight"],
        ),
        ({"config.json": changed_config(label_names=["a", "b"])}, ["2 label_names"]),
        ({"config.json": lambda _: b"{"}, ["not valid JSON"]),
        ({"model.safetensors": save({})}, ["does not fit"]),
    ],
    ids=lambda value: None if isinstance(value, dict) else "-".join(value),
)
def test_repository_that_is_not_a_model_is_refused(
    hub, tiny_folder, run_module, flower_photo, tmp_path, files, parts
):
    there = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    for name, change in files.items():
        content = there.pop(name, None)
        if change is not None:
            there[name] = change(content) if callable(change) else change
    hub.add_repo(REPO, there)
    assert_one_sentence(name_photo(run_module, flower_photo, hub, tmp_path), *parts)


# Transfer errors


def test_corrupted_download_is_refused_and_retried(repo, run_module, flower_photo, tmp_path):
    content = repo.files(REPO)["model.safetensors"]
    repo.alter(REPO, "model.safetensors", content[:-1] + bytes([content[-1] ^ 1]))
    refused = name_photo(run_module, flower_photo, repo, tmp_path)
    assert_one_sentence(refused, "model.safetensors", "corrupted")
    repo.mend()
    assert name_photo(run_module, flower_photo, repo, tmp_path).returncode == 0


def test_truncated_download_is_refused_and_retried(repo, run_module, flower_photo, tmp_path):
    content = repo.files(REPO)["model.safetensors"]
    repo.alter(REPO, "model.safetensors", content[:-100])
    assert_one_sentence(name_photo(run_module, flower_photo, repo, tmp_path), REPO)
    repo.mend()
    assert name_photo(run_module, flower_photo, repo, tmp_path).returncode == 0


def test_interrupted_download_resumes_in_the_next_process(hub, run_module, flower_photo, tmp_path):
    files = {name: (WEIGHTS / name).read_bytes() for name in NEEDED}
    hub.add_repo(REPO, files)
    hub.cut("GET", "model.safetensors", after=25_000_000)
    hub.cut("GET", "model.safetensors", after=0, times=50)
    refused = name_photo(run_module, flower_photo, hub, tmp_path)
    assert_one_sentence(refused, REPO, "connection")
    hub.mend()
    answer = name_photo(run_module, flower_photo, hub, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert max(d.first_byte for d in hub.downloads()) >= 20_000_000  # the client keeps whole 10 MB


def test_unreachable_hub_is_reported(repo, run_module, flower_photo, tmp_path):
    repo.stop()
    refused = name_photo(run_module, flower_photo, repo, tmp_path)
    assert_one_sentence(refused, REPO, "Connection refused")


def test_references_come_along_and_their_absence_is_asked_for_once(
    repo, run_module, flower_photo, tmp_path
):
    assert name_photo(run_module, flower_photo, repo, tmp_path / "before").returncode == 0
    first = len(repo.log)
    assert name_photo(run_module, flower_photo, repo, tmp_path / "before").returncode == 0
    assert not any("references" in request.path for request in repo.log[first:])
    repo.add_commit(REPO, {"references.safetensors": b"features"})
    assert name_photo(run_module, flower_photo, repo, tmp_path / "after").returncode == 0
    assert [*(tmp_path / "after").rglob("snapshots/*/references.safetensors")]
