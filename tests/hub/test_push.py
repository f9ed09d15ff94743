"""Pushing a FlowerClassifier to the Hub, and what other libraries then load."""

import json
import re
from dataclasses import dataclass

import pytest

from tests.support.hub import REPO, HubServer

PICTURE = b"\x89PNG\r\n\x1a\n of a curve"
QUANTIZED = "bee/quantized"
EDITED = b"My own words.\n"

PUSH = """
import json, sys
from flower_model import FlowerClassifier, FlowerModelError
for number, (folder, options) in enumerate(json.loads(sys.argv[1]), start=1):
    model = FlowerClassifier.from_pretrained(folder)
    # A different picture each time: otherwise the commit would be empty.
    model.pictures["training-curve.png"] = bytes.fromhex(sys.argv[2]) + bytes([number])
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
repo, folder, quantized = sys.argv[1:]
pixels = torch.linspace(-2, 2, 3 * 160 * 160).reshape(1, 3, 160, 160)
theirs = timm.create_model(f"hf-hub:{repo}", pretrained=True).eval()
third = pipeline("image-classification", model=repo)
ours = FlowerClassifier.from_pretrained(repo)
with torch.inference_mode():
    logits = ours.network(pixels)
    print(json.dumps({
        "as the folder": torch.equal(logits, FlowerClassifier.from_pretrained(folder).network(pixels)),
        "timm": (theirs(pixels) - logits).abs().max().item(),
        "transformers": (third.model(pixels).logits - logits).abs().max().item(),
        "labels": [ours.labels, [third.model.config.id2label[i] for i in range(5)]],
        "quantized": FlowerClassifier.from_pretrained(
            quantized, device="cpu", precision="int8"
        ).runtime.name,
    }))
"""


@dataclass(frozen=True)
class Pushed:
    """A Hub after a process has pushed models to it.

    Attributes:
        token: The token of flora, which most pushes give; the process is logged in as bee.
        lines: The line that each push printed.
        output: All that the process printed.
    """

    hub: HubServer
    token: str
    login: str
    lines: list[str]
    output: str


@pytest.fixture(scope="module")
def pushed(tiny_folder, quantized_folder, python, tmp_path_factory):
    tiny, quantized = str(tiny_folder), str(quantized_folder)
    with HubServer() as hub:
        token, login = hub.add_user("flora"), hub.add_user("bee")
        hub.add_repo(REPO, {"rejection.safetensors": b"of an earlier model"})
        hub.add_repo("bee/edited", {"README.md": EDITED, "config.json": b"{}"})
        hub.add_repo("bee/generated", {"README.md": (tiny_folder / "README.md").read_bytes()})
        flora = {"repo_id": REPO, "token": token}
        wrong = ["hf_wrongTOKEN0123456789", "hf_wrong TOKEN0123456789"]
        pushes = [
            (tiny, flora),
            (tiny, flora | {"revision": "spring", "commit_message": "On a branch"}),
            (tiny, flora | {"create_pr": True, "commit_message": "For review"}),
            (tiny, flora | {"repo_id": "flora/not--a--name"}),
            (tiny, flora | {"repo_id": "somebody/else"}),
            *(
                (tiny, {"repo_id": "flora/spaces", "token": f"{s}{token}{s}"})
                for s in ("\n", " ", "\r\n")
            ),
            *((tiny, flora | {"token": text}) for text in wrong),
            (tiny, {"repo_id": "bee/meadow", "private": True, "commit_message": "First bloom"}),
            (quantized, {"repo_id": QUANTIZED}),
            (tiny, {"repo_id": "bee/edited"}),
            (tiny, {"repo_id": "bee/generated"}),
        ]
        env = hub.environment(tmp_path_factory.mktemp("home"), login)
        done = python(PUSH, json.dumps(pushes), PICTURE.hex(), **env)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == len(pushes)
        yield Pushed(hub, token, login, lines, done.stdout + done.stderr)


def test_pushed_models_load_in_timm_and_transformers_too_and_give_the_same_logits(
    pushed, python, tiny_folder, tiny_model, tmp_path
):
    hub = pushed.hub
    assert hub.commits("bee/meadow")[0].title == "First bloom"
    assert hub.repos["model", "bee/meadow"].private
    before = len(hub.downloads())
    env = hub.environment(tmp_path, pushed.login)
    pulled = python(PULL, "bee/meadow", tiny_folder, QUANTIZED, **env)
    assert pulled.returncode == 0, pulled.stderr
    result = json.loads(pulled.stdout)
    assert result["as the folder"] is True
    assert result["timm"] <= 1e-3 and result["transformers"] <= 1e-3
    assert result["labels"] == [tiny_model.labels, tiny_model.labels]
    assert result["quantized"] == "OpenVINO on cpu, int8"
    downloads = hub.downloads()[before:]
    private = {request.file for request in downloads if "bee/meadow" in request.path}
    assert private == {"config.json", "model.safetensors"}


def test_quantization_is_pushed(pushed, quantized_folder):
    file = "quantization.safetensors"
    assert pushed.hub.files(QUANTIZED)[file] == (quantized_folder / file).read_bytes()


def test_push_includes_card_and_plots_on_branches_and_pull_requests(pushed):
    hub, lines = pushed.hub, pushed.lines
    assert hub.files(REPO)["training-curve.png"] == PICTURE + b"\x01"
    assert "rejection.safetensors" not in hub.files(REPO)
    card = hub.files(REPO)["README.md"].decode()
    assert f'from_pretrained("{REPO}")' in card and f"hf-hub:{REPO}" in card
    assert "training-curve.png" in card
    assert hub.commits(REPO, "spring")
    assert re.search(r"/discussions/1$", lines[2])
    assert len(hub.commits(REPO)) == 3  # the initial commit, the earlier model and the first push
    assert re.match("HubError .*Write it like user/repo", lines[3])
    assert re.match("HubError .*has no write access to 'somebody/else'", lines[4])


def test_whitespace_around_a_token_is_ignored(pushed):
    assert all("flora/spaces/commit/" in line for line in pushed.lines[5:8]), pushed.lines
    assert pushed.token not in pushed.output


def test_rejected_token_is_not_printed(pushed):
    assert all(line.startswith("HubError The Hub") for line in pushed.lines[8:10]), pushed.lines
    assert "TOKEN" not in pushed.output


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
    env = repo.environment(tmp_path)
    result = python("\n".join(blocks), cwd=tmp_path / "empty", **env)
    assert result.returncode == 0, result.stderr
    ours, timms, transformers = result.stdout.splitlines()
    label = tiny_model.predict(flower_photo).label
    assert label in ours and timms == label and f"'{label}'" in transformers


def test_card_that_was_edited_on_the_hub_is_kept_and_a_generated_one_replaced(pushed, tiny_folder):
    edited, generated = pushed.hub.files("bee/edited"), pushed.hub.files("bee/generated")
    assert edited["README.md"] == EDITED
    assert edited["config.json"] == (tiny_folder / "config.json").read_bytes()
    assert b"bee/generated" in generated["README.md"]
