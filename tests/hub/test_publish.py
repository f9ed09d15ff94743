"""python -m training.publish and --push-to-hub: models and Spaces on the Hub, and error messages."""

import os
import shutil
import subprocess

import pytest
from gradio_client import Client, handle_file
from packaging.requirements import Requirement

from tests.support.commands import ROOT, assert_one_sentence, free_port, run_all
from tests.support.drawn import draw_dataset
from tests.support.environment import python_with
from tests.support.hub import REPO, HubServer
from tests.support.hub.cards import card_errors, metadata_of
from tests.training.test_training import small_run
from training.publish import main

REQUIREMENTS = [
    line
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
SPACE = "flora/demo"


@pytest.fixture
def publish(hub, run_module, tmp_path):
    """Run `python -m training.publish …` against the loopback Hub."""

    def run(*words, token):
        return run_module("training.publish", *words, **hub.environment(tmp_path / "home", token))

    return run


def test_weights_folder_is_published_unchanged(hub, publish, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "optimizer.pt").write_bytes(b"not part of the model")
    result = publish(folder, REPO, "--private", token=hub.add_user("flora"))
    assert result.returncode == 0, result.stderr
    published = hub.files(REPO)
    for name in ("config.json", "model.safetensors"):
        assert published[name] == (folder / name).read_bytes()
    assert "optimizer.pt" not in published
    assert f'from_pretrained("{REPO}")' in published["README.md"].decode()
    assert card_errors(published["README.md"].decode(), "model") == []
    assert hub.repos["model", REPO].private


def test_edited_card_is_published_unchanged(hub, publish, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\nMy own words.\n")
    assert publish(folder, REPO, token=hub.add_user("flora")).returncode == 0
    assert hub.files(REPO)["README.md"] == (folder / "README.md").read_bytes()


def test_files_of_the_previous_model_are_removed(hub, publish, tiny_folder, tmp_path):
    old = {"rejection.safetensors": b"rule", "reliability.png": b"picture", "mine.md": b"words"}
    token = hub.add_user("flora")
    hub.add_repo(REPO, old)
    assert publish(tiny_folder, REPO, token=token).returncode == 0
    ours = {"config.json", "model.safetensors", "README.md", "mine.md"}
    assert hub.files(REPO).keys() - {".gitattributes"} == ours


@pytest.fixture(scope="module")
def pushed_runs(tmp_path_factory):
    """A Hub that refuses commits to flora/refused; a folder with two runs; what they printed."""
    root = tmp_path_factory.mktemp("runs")
    data = draw_dataset(root / "discs")
    with HubServer() as hub:
        hub.refuse("POST", "flora/refused/commit/", status=500, times=50)
        runs = [
            small_run(data, root / name, "--epochs", "1", "--push-to-hub", f"flora/{name}")
            for name in ("pushed", "refused")
        ]
        env = hub.environment(root / "home", hub.add_user("flora"))
        results = run_all([("training.train", words) for words in runs], env)
        yield hub, root, results


def test_training_pushes_the_model(pushed_runs):
    hub, root, [result, _] = pushed_runs
    assert result.returncode == 0, result.stderr
    model = root / "pushed" / "model"
    published = hub.files("flora/pushed")
    assert published["model.safetensors"] == (model / "model.safetensors").read_bytes()
    for picture in ("training-curve.png", "confusion-matrix.png"):
        assert published[picture].startswith(b"\x89PNG")
        assert picture in published["README.md"].decode()


def test_failed_push_keeps_the_model_and_prints_the_command_to_retry(pushed_runs):
    hub, root, [_, result] = pushed_runs
    assert result.returncode == 2
    model = root / "refused" / "model"
    last = result.stderr.splitlines()[-1]
    assert "safe" in last and f"python -m training.publish {model} flora/refused" in last
    assert (model / "model.safetensors").exists()
    assert "model.safetensors" not in hub.files("flora/refused")


def test_login_is_checked_before_training(hub, run_module, tmp_path):
    run = small_run(draw_dataset(tmp_path / "discs"), tmp_path / "run", "--push-to-hub", REPO)
    result = run_module("training.train", *run, **hub.environment(tmp_path / "home"))
    assert_one_sentence(result, "hf auth login")
    assert not (tmp_path / "run").exists()


# Refused by the Hub


def test_publishing_requires_a_token(publish, tiny_folder):
    assert_one_sentence(publish(tiny_folder, REPO, token=None), "no Hub login", "hf auth login")


def test_unknown_token_is_reported(publish, tiny_folder):
    result = publish(tiny_folder, REPO, token="hf_made_up")
    assert_one_sentence(result, "rejected the token", "hf auth login")


def test_read_only_token_is_refused(hub, publish, tiny_folder):
    token = hub.add_user("flora", write=False)
    assert_one_sentence(publish(tiny_folder, REPO, token=token), "has no write access", REPO)
    assert not hub.repos


@pytest.mark.parametrize("name", ["flora/a--b", "flora/-a", "flora/a b", "flora/" + "a" * 97])
def test_invalid_repository_name_is_reported(hub, publish, tiny_folder, name):
    result = publish(tiny_folder, name, token=hub.add_user("flora"))
    assert_one_sentence(result, name[:20], "user/repo")


def test_another_users_repository_is_refused(hub, publish, tiny_folder):
    result = publish(tiny_folder, "somebody/meadow", token=hub.add_user("flora"))
    assert_one_sentence(result, "flora/meadow")


def test_pull_request_to_another_users_repository(hub, publish, tiny_folder):
    hub.add_repo("somebody/meadow", {"config.json": b"{}"})
    token = hub.add_user("flora")
    result = publish(tiny_folder, "somebody/meadow", "--create-pr", token=token)
    assert result.returncode == 0, result.stderr
    assert "model.safetensors" in hub.files("somebody/meadow", "refs/pr/1")
    assert "model.safetensors" not in hub.files("somebody/meadow")


def test_folder_without_a_model_is_not_published(hub, publish, tmp_path):
    (tmp_path / "folder").mkdir()
    result = publish(tmp_path / "folder", REPO, token=hub.add_user("flora"))
    assert_one_sentence(result, "no config.json")
    assert not hub.repos


def test_interrupted_upload_publishes_nothing(hub, publish, tiny_folder):
    token = hub.add_user("flora")
    hub.cut("PUT", "/lfs/", after=100_000, times=50)
    assert_one_sentence(publish(tiny_folder, REPO, token=token), REPO, "connection")
    assert list(hub.files(REPO)) == [".gitattributes"]
    hub.mend()
    assert publish(tiny_folder, REPO, token=token).returncode == 0
    assert len(hub.commits(REPO)) == 2


def test_interrupted_commit_publishes_nothing(hub, publish, tiny_folder):
    token = hub.add_user("flora")
    hub.cut("POST", "/commit/", after=10, times=50)
    assert_one_sentence(publish(tiny_folder, REPO, token=token), REPO, "connection")
    assert list(hub.files(REPO)) == [".gitattributes"]


def test_unreachable_hub_is_reported(hub, publish, tiny_folder):
    token = hub.add_user("flora")
    hub.stop()
    assert_one_sentence(publish(tiny_folder, REPO, token=token), "connection", "try again")


# Spaces


def test_readme_has_valid_space_settings():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert card_errors(readme, "space") == []
    settings = metadata_of(readme)
    assert settings["sdk"] == "gradio" and (ROOT / settings["app_file"]).exists()
    requirement = next(r for r in map(Requirement, REQUIREMENTS) if r.name == "gradio")
    assert settings["sdk_version"] in requirement.specifier


def test_space_serves_the_published_model(
    hub, publish, tiny_folder, tiny_model, flower_photo, tmp_path
):
    token = hub.add_user("flora")
    result = publish(tiny_folder, REPO, "--space", SPACE, token=token)
    assert result.returncode == 0, result.stderr
    space = tmp_path / "space"
    for name, content in hub.files(SPACE, repo_type="space").items():
        (space / name).parent.mkdir(parents=True, exist_ok=True)
        (space / name).write_bytes(content)
    readme = (space / "README.md").read_text(encoding="utf-8")
    assert card_errors(readme, "space") == []
    assert metadata_of(readme)["models"] == [REPO]
    url = f"http://127.0.0.1:{free_port()}/"
    env = hub.environment(tmp_path / "visitor") | {"GRADIO_SERVER_NAME": "127.0.0.1"}
    python = python_with((space / "requirements.txt").read_text("utf-8"), tmp_path / "venv")
    server = subprocess.Popen(
        [python, "app.py", "--port", url.split(":")[2][:-1]],
        cwd=space,
        env=os.environ | env,
        text=True,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout and url in server.stdout.readline()
        answer = Client(url, verbose=False).predict(handle_file(flower_photo), api_name="/identify")
        assert answer["label"] == tiny_model.predict(flower_photo).label
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_republished_space_drops_obsolete_files(hub, publish, tiny_folder):
    token = hub.add_user("flora")
    hub.add_repo(
        SPACE, {"flower_model/old.py": b"", "notes.txt": b"by the owner"}, repo_type="space"
    )
    assert publish(tiny_folder, REPO, "--space", SPACE, token=token).returncode == 0
    files = hub.files(SPACE, repo_type="space")
    assert "flower_model/old.py" not in files and "notes.txt" in files
    assert files["app.py"] == (ROOT / "app.py").read_bytes()
    assert len(hub.commits(SPACE, repo_type="space")) == 2 + 1


@pytest.mark.parametrize("option", [["--revision", "dev"], ["--create-pr"]])
def test_a_space_that_would_serve_another_revision_is_refused(tiny_folder, capsys, option):
    with pytest.raises(SystemExit):
        main([str(tiny_folder), REPO, "--space", SPACE, *option])
    assert "--space serves the main branch" in capsys.readouterr().err
