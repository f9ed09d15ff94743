"""Atomic writes: permissions, and what a failed sync means."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from flower_model.system.files import atomic_path
from tests.support.commands import ROOT


def test_failed_sync_of_the_folder_is_no_failed_write(tmp_path, monkeypatch):
    flush = os.fsync

    def refuse(descriptor):  # as some network drives do
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_write_never_changes_the_umask_of_other_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", None)
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")


@pytest.mark.slow
def test_files_have_the_usual_permissions(tmp_path):
    program = """
import sys
from flower_model.system.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("new")
"""
    words = [sys.executable, "-c", program, tmp_path / "a.txt"]
    subprocess.run(words, cwd=ROOT, check=True, umask=0o027)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
