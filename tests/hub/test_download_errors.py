"""A fetch from the Hub that fails for a reason of this machine's: it is this one that is told."""

import pytest

from tests.support.commands import run

REPO = "flora/meadow"


@pytest.fixture
def told(hub, tiny_folder, tmp_path):
    """`told("token=True", HF_HUB_OFFLINE="1")` loads `REPO` in a fresh process, and says what is told."""
    hub.add_user("flora")
    hub.add_repo(REPO, {file.name: file.read_bytes() for file in tiny_folder.iterdir()})

    def told(options="", first="", **env):
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

    return told


def test_a_cache_that_can_not_be_a_folder(told, tmp_path):
    (tmp_path / "file").touch()
    said = told(HF_HUB_CACHE=str(tmp_path / "file" / "hub"))
    assert "cache (Not a directory)" in said and "HF_HOME" in said


def test_a_full_disk(told):
    said = told(first="resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))")
    assert "cache (File too large): make room there" in said


def test_a_login_that_is_asked_for_and_not_there(told):
    said = told("token=True")
    assert "no Hub login to fetch" in said and "push" not in said


@pytest.mark.parametrize(
    ("options", "env"), [("", {"HF_HUB_OFFLINE": "1"}), ("local_files_only=True", {})]
)
def test_what_is_not_in_the_cache_when_only_that_is_asked(told, options, env):
    said = told(options, **env)
    assert "not asked as long as HF_HUB_OFFLINE or local_files_only is set" in said


def test_a_token_that_may_not_read(hub, told):
    hub.refuse("HEAD", "config.json", status=403, times=50)
    said = told()
    assert "The Hub refuses" in said and "write" not in said
