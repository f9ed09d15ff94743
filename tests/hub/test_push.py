"""Pushing a FlowerClassifier to the Hub, and what other libraries then load."""

import json
import re

from tests.support.hub import REPO

PICTURE = b"\x89PNG\r\n\x1a\n of a curve"

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


def test_whitespace_around_a_token_is_ignored(hub, token, python, tiny_folder, tmp_path):
    pushes = [{"repo_id": REPO, "token": f"{space}{token}{space}"} for space in ("\n", " ", "\r\n")]
    pushed = python(PUSH, tiny_folder, PICTURE.hex(), pushes, **hub.environment(tmp_path))
    assert [len(pushed.stdout.splitlines()), pushed.stdout.count("/commit/")] == [3, 3]
    assert token not in pushed.stdout + pushed.stderr


def test_rejected_token_is_not_printed(hub, python, tiny_folder, tmp_path):
    tokens = ["hf_wrongTOKEN0123456789", "hf_wrong TOKEN0123456789"]
    pushes = [{"repo_id": REPO, "token": token} for token in tokens]
    pushed = python(PUSH, tiny_folder, PICTURE.hex(), pushes, **hub.environment(tmp_path))
    assert pushed.stdout.count("HubError The Hub") == len(pushed.stdout.splitlines()) == 2
    assert "TOKEN" not in pushed.stdout + pushed.stderr
