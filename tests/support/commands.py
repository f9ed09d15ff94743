"""Commands run in a subprocess, as a user runs them."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


def run(
    *words: object, env: dict[str, str], encoding: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=os.environ | env,
        check=False,
        capture_output=True,
        text=True,
        encoding=encoding,
        timeout=120,
    )


# Runs each command and prints a list of (exit code, stdout, stderr).
RUN_ALL = """
import contextlib, importlib, io, json, sys
results = []
for module, words in json.loads(sys.argv[1]):
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        code = importlib.import_module(module).main(words)
    results.append((code, out.getvalue(), errors.getvalue()))
print(json.dumps(results))
"""


def run_all(
    commands: Sequence[tuple[str, list[str]]], env: dict[str, str]
) -> list[subprocess.CompletedProcess[str]]:
    """Run the `main` of several modules in one process, which takes seconds to import PyTorch."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(commands)],
        cwd=ROOT,
        env=os.environ | env,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    return [
        subprocess.CompletedProcess(words, *result)
        for (_, words), result in zip(commands, results, strict=True)
    ]


def assert_one_sentence(result, *parts):
    """Assert exit code 2, an empty stdout, and one line on stderr that contains every part."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert str(part) in result.stderr


class Served:
    """A running `python app.py` and the lines it printed until it was reachable."""

    def __init__(
        self, *words: object, host: str = "127.0.0.1", address: str = "", **env: str
    ) -> None:
        """Start `python app.py` with these words and environment variables.

        It prints its URL when it is reachable, or the address that a reverse proxy gives it.
        """
        port = free_port()
        self.url = f"http://{host}:{port}/"
        # Not a pipe: nobody reads it while the page runs, and the log would fill it.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), *map(str, words)],
            cwd=ROOT,
            env=os.environ | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.lines: list[str] = []
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if (address or self.url) in line:
                return
        raise AssertionError(f"app.py did not start:\n{self.stop()[1]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def next_line(self) -> str:
        """Return the next line on stdout."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM; return the exit code and stderr."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)
        self._errors.seek(0)
        return self.process.returncode, self._errors.read()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
