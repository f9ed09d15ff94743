"""Downloads from the Hub that are corrupted, cut short or impossible."""

from flower_model.cli.common import WEIGHTS
from tests.support.commands import assert_one_sentence
from tests.support.hub import REPO

NEEDED = (
    "config.json",
    "model.safetensors",
    "rejection.safetensors",
    "quantization.safetensors",
)


def test_corrupted_download_is_refused_and_retried(repo, name_photo, tmp_path):
    content = repo.files(REPO)["model.safetensors"]
    repo.alter(REPO, "model.safetensors", content[:-1] + bytes([content[-1] ^ 1]))
    refused = name_photo(repo, tmp_path)
    assert_one_sentence(refused, "model.safetensors", "corrupted")
    repo.mend()
    assert name_photo(repo, tmp_path).returncode == 0


def test_truncated_download_is_refused_and_retried(repo, name_photo, tmp_path):
    content = repo.files(REPO)["model.safetensors"]
    repo.alter(REPO, "model.safetensors", content[:-100])
    assert_one_sentence(name_photo(repo, tmp_path), REPO)
    repo.mend()
    assert name_photo(repo, tmp_path).returncode == 0


def test_interrupted_download_resumes_in_the_next_process(hub, name_photo, tmp_path):
    files = {name: (WEIGHTS / name).read_bytes() for name in NEEDED}
    hub.add_repo(REPO, files)
    hub.cut("GET", "model.safetensors", after=25_000_000)
    hub.cut("GET", "model.safetensors", after=0, times=50)
    refused = name_photo(hub, tmp_path)
    assert_one_sentence(refused, REPO, "connection")
    hub.mend()
    answer = name_photo(hub, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert max(d.first_byte for d in hub.downloads()) >= 20_000_000  # the client keeps whole 10 MB
