"""Downloads that fail for a local reason: the error message names that reason."""

import pytest

from tests.support.commands import run

REPO = "flora/meadow"


@pytest.fixture
def load_error(hub, tiny_folder, tmp_path):
    """`load_error("token=True", HF_HUB_OFFLINE="1")` loads `REPO` in a fresh process, returns the error."""
    hub.add_user("flora")
    hub.add_repo(REPO, {file.name: file.read_bytes() for file in tiny_folder.iterdir()})

    def load_error(options="", first="", **env):
        program = f"""
import resource
from flower_model import FlowerClassifier, HubError
{first}
try:
    FlowerClassifier.from_pretrained("{REPO}", {options})
except HubError as error:
    print(error)
"""
        result = run("-c", program, env=hub.environment(tmp_path / "home") | env)
        assert result.returncode == 0 and len(result.stdout.splitlines()) == 1, result.stderr
        assert REPO in result.stdout
        return result.stdout

    return load_error


def test_cache_folder_that_cannot_be_created(load_error, tmp_path):
    (tmp_path / "file").touch()
    message = load_error(HF_HUB_CACHE=str(tmp_path / "file" / "hub"))
    assert "cache (Not a directory)" in message and "HF_HOME" in message


def test_full_disk(load_error):
    message = load_error(first="resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))")
    assert "cache (File too large). Free some space" in message


def test_token_required_without_login(load_error):
    message = load_error("token=True")
    assert "no Hub login" in message


@pytest.mark.parametrize(
    ("options", "env"), [("", {"HF_HUB_OFFLINE": "1"}), ("local_files_only=True", {})]
)
def test_offline_without_cached_files(load_error, options, env):
    message = load_error(options, **env)
    assert "HF_HUB_OFFLINE or local_files_only forbids downloading it" in message


def test_token_without_read_access(hub, load_error):
    hub.refuse("HEAD", "config.json", status=403, times=50)
    message = load_error()
    assert "The Hub refused" in message and "write" not in message
