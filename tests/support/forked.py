"""Commands in forks of a process that has imported PyTorch, timm and NNCF, which takes ten seconds.

Only for commands that read no environment variables on import: those of the Hub, for example, would be
those of the process that is forked.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import get_context, set_start_method
from pathlib import Path

from tests.support.commands import ROOT

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.preloaded"])
TIMEOUT = 120  # seconds


class Fork:
    """`python -m module word …`, running in a fork."""

    def __init__(self, module: str, *words: object, **env: str) -> None:
        """Start the command with these environment variables added."""
        self._printed = tempfile.TemporaryDirectory()
        self._command = [module, *map(str, words)]
        self.process = FORKS.Process(target=_run, args=(self._command, env, self._printed.name))
        self.process.start()

    def result(self) -> subprocess.CompletedProcess[str]:
        """Wait for the command to end."""
        self.process.join(TIMEOUT)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self._command, TIMEOUT)
        with self._printed as folder:
            stdout, stderr = (Path(folder, name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(self._command, code, stdout, stderr)


def _run(command: list[str], env: dict[str, str], folder: str) -> None:
    prepare_fork()
    os.environ.update(env)
    os.chdir(ROOT)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(Path(folder, name), "wb") as file:
            os.dup2(file.fileno(), number)
    sys.argv = command
    sys.modules.pop(command[0], None)  # or runpy warns that it is imported already
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def prepare_fork() -> None:
    """Let a loader's workers be forked, as outside a fork server."""
    set_start_method("fork", force=True)
