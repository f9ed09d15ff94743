"""Fixtures of the tests that push and load over the Hub."""

import os
import subprocess
import sys

import pytest

from tests.support.commands import ROOT
from tests.support.hub import REPO


@pytest.fixture
def token(hub):
    return hub.add_user("flora")


@pytest.fixture
def repo(hub, tiny_folder):
    """`REPO` with the files of `tiny_folder`."""
    hub.add_user("flora")
    hub.add_repo(REPO, {file.name: file.read_bytes() for file in tiny_folder.iterdir()})
    return hub


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """`python("print(1)", **env)` runs code in a fresh process, in an empty folder or in `cwd`."""
    empty = tmp_path_factory.mktemp("empty")

    def run(program, *words, cwd=empty, **env):
        return subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def name_photo(run_module, flower_photo):
    """`name_photo(hub, home)` names a photo with `REPO` in a fresh process with a cache of its own."""

    def run(hub, home, token=None):
        env = hub.environment(home, token)
        return run_module("flower_model", flower_photo, "--model", REPO, "--json", **env)

    return run
