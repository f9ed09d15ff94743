"""The loopback Hub behaves like the real one towards huggingface_hub, which the other tests rely on."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, close_session, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

WEIGHTS = os.urandom(3_000_000)


@pytest.fixture(autouse=True)
def online(monkeypatch) -> Iterator[None]:
    """Let the client of this process connect to loopback, without a proxy."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    close_session()
    yield
    close_session()


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(hub.endpoint, token=hub.add_user("flora"))


@pytest.fixture
def anonymous(hub) -> HfApi:
    return HfApi(hub.endpoint, token=False)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "roses"
    (folder / "plots").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Roses\n")
    (folder / "plots" / "curve.svg").write_text("<svg/>")
    return folder


def test_pushed_folder_is_one_commit_and_second_push_uploads_nothing(hub, api, folder):
    api.create_repo("flora/roses")
    first = api.upload_folder(repo_id="flora/roses", folder_path=folder)
    pushed = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert pushed.items() <= hub.files("flora/roses").items()
    assert hub.commits("flora/roses")[0].oid == first.oid
    assert len(hub.commits("flora/roses")) == 2

    sent = [request.method for request in hub.log].count("PUT")
    again = api.upload_folder(repo_id="flora/roses", folder_path=folder)
    assert again.oid == first.oid
    assert sent == 1 == [request.method for request in hub.log].count("PUT")


def test_files_are_served_from_branch_and_commit(hub, api, tmp_path):
    old = hub.add_repo("flora/roses", {"config.json": b"old", "model.safetensors": WEIGHTS})
    hub.add_commit("flora/roses", {"config.json": b"new"})

    def content(path: str, revision: str) -> bytes:
        found = api.hf_hub_download("flora/roses", path, revision=revision, cache_dir=tmp_path)
        return Path(found).read_bytes()

    assert content("config.json", "main") == b"new"
    assert content("config.json", old) == b"old"
    assert content("model.safetensors", old) == WEIGHTS
    assert [request.file for request in hub.downloads()][-1] == "model.safetensors"


def test_snapshot_downloads_only_matching_files(hub, api, tmp_path):
    hub.add_repo(
        "flora/roses", {"config.json": b"{}", "a.bin": WEIGHTS, "plots/curve.svg": b"<svg/>"}
    )
    found = api.snapshot_download(
        "flora/roses", allow_patterns=["*.json", "plots/*"], cache_dir=tmp_path
    )
    assert (Path(found) / "plots" / "curve.svg").read_bytes() == b"<svg/>"
    assert {request.file for request in hub.downloads()} == {"config.json", "plots/curve.svg"}


def test_private_repository_is_visible_to_its_owner_only(hub, api, anonymous, tmp_path):
    hub.add_repo("flora/roses", {"config.json": b"{}"}, private=True)
    stranger = HfApi(hub.endpoint, token=hub.add_user("mallory"))
    for who in (anonymous, stranger):
        with pytest.raises(RepositoryNotFoundError):
            who.model_info("flora/roses")
        with pytest.raises(RepositoryNotFoundError):
            who.hf_hub_download("flora/roses", "config.json", cache_dir=tmp_path)
    assert api.hf_hub_download("flora/roses", "config.json", cache_dir=tmp_path)


def test_missing_and_gated_resources_raise_the_same_errors_as_on_the_hub(
    hub, api, anonymous, tmp_path
):
    hub.add_repo("flora/roses", {"config.json": b"{}"})
    hub.add_repo("meta/lily", {"config.json": b"{}"}, gated=True)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("flora/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("flora/roses", revision="none")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("flora/roses", "none.json", cache_dir=tmp_path)
    for who in (api, anonymous):
        with pytest.raises(GatedRepoError):
            who.hf_hub_download("meta/lily", "config.json", cache_dir=tmp_path)


def test_write_without_permission_is_refused(hub, api, folder):
    hub.add_repo("flora/roses")
    reader = HfApi(hub.endpoint, token=hub.add_user("flora", write=False))
    assert reader.whoami()["auth"]["accessToken"]["role"] == "read"
    for call, words in [
        (lambda: reader.create_repo("flora/lily"), "rights to create a model"),
        (lambda: api.create_repo("meta/lily"), 'under the namespace "meta"'),
        (lambda: api.create_repo("flora/roses"), "already created this model repo"),
        (lambda: reader.upload_folder(repo_id="flora/roses", folder_path=folder), "write token"),
        (HfApi(hub.endpoint, token="hf_wrong").whoami, "Invalid user token"),
    ]:
        with pytest.raises(HfHubHTTPError, match=words):
            call()
    assert len(hub.commits("flora/roses")) == 2


def test_invalid_card_stops_the_push(hub, api, folder):
    hub.add_repo("flora/roses")
    (folder / "README.md").write_text("---\nlicense: mine\n---\n")
    with pytest.raises(ValueError, match='"license" must be one of'):
        api.upload_folder(repo_id="flora/roses", folder_path=folder)
    assert "config.json" not in hub.files("flora/roses")


def test_pull_request_leaves_the_branch_unchanged(hub, api, folder):
    before = hub.add_repo("meta/roses", {"config.json": b"old"})
    made = api.upload_folder(repo_id="meta/roses", folder_path=folder, create_pr=True)
    assert made.pr_revision == "refs/pr/1"
    assert hub.commits("meta/roses")[0].oid == before
    assert hub.files("meta/roses", "refs/pr/1")["config.json"] == b"{}"
    assert api.model_info("meta/roses", revision="refs/pr/1").sha == made.oid


def test_private_space_is_created_with_its_variables(hub, api, folder):
    url = api.create_repo(
        "flora/demo",
        repo_type="space",
        space_sdk="gradio",
        private=True,
        space_variables=[{"key": "MODEL", "value": "flora/roses"}],
    )
    (folder / "README.md").write_text("---\ntitle: Roses\nsdk: gradio\napp_file: app.py\n---\n")
    api.upload_folder(repo_id="flora/demo", folder_path=folder, repo_type="space")
    assert (url.repo_type, url.repo_id) == ("space", "flora/demo")
    info = api.space_info("flora/demo")
    assert info.private and info.sdk == "gradio" and info.card_data.app_file == "app.py"
    assert api.get_space_variables("flora/demo")["MODEL"].value == "flora/roses"


def test_interrupted_download_resumes(hub, api, tmp_path):
    hub.add_repo("flora/roses", {"model.safetensors": WEIGHTS * 5})
    hub.cut("GET", "model.safetensors", after=12_000_000)
    found = api.hf_hub_download("flora/roses", "model.safetensors", cache_dir=tmp_path)
    assert Path(found).read_bytes() == WEIGHTS * 5
    kept = constants.DOWNLOAD_CHUNK_SIZE  # the client keeps whole chunks of 10 MiB
    asked = [(request.status, request.first_byte) for request in hub.downloads()]
    assert asked == [(200, 0), (206, kept)]


def test_transfer_rate_limits_uploads_and_downloads(hub, api, tmp_path):
    hub.add_repo("flora/roses")
    hub.bytes_per_second = 500_000
    start = time.monotonic()
    api.upload_file(repo_id="flora/roses", path_or_fileobj=bytes(100_000), path_in_repo="a.bin")
    assert time.monotonic() - start > 0.2
    start = time.monotonic()
    api.hf_hub_download("flora/roses", "a.bin", cache_dir=tmp_path)
    assert time.monotonic() - start > 0.2


def test_connection_reset_during_download_raises_read_error(hub, api, tmp_path):
    hub.add_repo("flora/roses", {"model.safetensors": WEIGHTS})
    hub.cut("GET", "model.safetensors", after=1_000_000, reset=True)
    with pytest.raises(httpx2.ReadError):
        api.hf_hub_download("flora/roses", "model.safetensors", cache_dir=tmp_path)


def test_interrupted_upload_leaves_the_branch_unchanged(hub, api, folder):
    before = hub.add_repo("flora/roses")
    hub.cut("PUT", "/lfs/", after=1_000_000)
    hub.refuse("PUT", "/lfs/", status=400)  # for the client's retry
    with pytest.raises(RuntimeError, match=r"model\.safetensors"):
        api.upload_folder(repo_id="flora/roses", folder_path=folder)
    hub.cut("POST", "/commit/", after=10)
    with pytest.raises(httpx2.HTTPError):
        api.upload_folder(repo_id="flora/roses", folder_path=folder)
    assert hub.commits("flora/roses")[0].oid == before
    api.upload_folder(repo_id="flora/roses", folder_path=folder)
    assert hub.files("flora/roses")["model.safetensors"] == WEIGHTS


def test_altered_downloads_and_restarts(hub, api, tmp_path):
    hub.add_repo("flora/roses", {"model.safetensors": WEIGHTS})
    hub.alter("flora/roses", "model.safetensors", WEIGHTS[::-1])
    found = api.hf_hub_download("flora/roses", "model.safetensors", cache_dir=tmp_path / "a")
    assert Path(found).read_bytes() == WEIGHTS[::-1]
    hub.alter("flora/roses", "model.safetensors", WEIGHTS[:-1])
    with pytest.raises(OSError, match="Consistency check failed"):
        api.hf_hub_download("flora/roses", "model.safetensors", cache_dir=tmp_path / "b")
    hub.stop()
    with pytest.raises(httpx2.ConnectError):
        api.model_info("flora/roses")
    hub.start()
    assert api.model_info("flora/roses").id == "flora/roses"
