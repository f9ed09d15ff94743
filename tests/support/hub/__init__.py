"""A Hugging Face Hub on loopback, for tests that talk to it with the real client.

No maintained package does this: `olah` on PyPI only mirrors downloads, and KohakuHub, which also accepts
uploads, is a full service with a database, object storage and containers.

    with HubServer() as hub:
        token = hub.add_user("flora")
        hub.add_repo("flora/roses", {"config.json": b"{}"})
        subprocess.run([...], env=os.environ | hub.environment(tmp_path, token))
        hub.files("flora/roses")        # {"config.json": b"{}", ".gitattributes": …}

huggingface_hub reads HF_ENDPOINT once, on import, so code that passes no endpoint needs a fresh process;
`HfApi(endpoint=hub.endpoint)` works anywhere. This module is the API for tests: add users and
repositories, inject faults, inspect requests. The HTTP protocol is in `protocol`.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.hub.messages import Request
from tests.support.hub.repos import Blob, Commit, Repo, User
from tests.support.hub.transfers import stored_as_lfs
from tests.support.hub.wire import Fault, Listener

__all__ = ["REPO", "HubServer", "Request"]

REPO = "flora/meadow"


class HubServer:
    """A Hub that listens on 127.0.0.1 while the context is open (or after `start`).

    Attributes:
        endpoint: The value for HF_ENDPOINT.
        log: Every `Request` so far.
        bytes_per_second: Transfer rate of file contents; None for unlimited.
    """

    def __init__(self) -> None:
        self.users: dict[str, User] = {}  # token -> user
        self.repos: dict[tuple[str, str], Repo] = {}  # (type, id) -> repo
        self.lfs: dict[str, Blob] = {}  # sha256 -> uploaded blob, committed or not
        self.log: list[Request] = []
        self.bytes_per_second: float | None = None
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._altered: dict[tuple[str, str], bytes] = {}
        self._server: Listener | None = None
        self._port = 0

    # Users and repositories

    def add_user(self, name: str, *, write: bool = True, orgs: tuple[str, ...] = ()) -> str:
        """Create a token for the user with the role "write" or "read"; a user may have several."""
        token = f"hf_{name}{len(self.users):030d}"
        self.users[token] = User(name, write, orgs)
        return token

    def add_repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes] | None = None,
        *,
        repo_type: str = "model",
        private: bool = False,
        gated: bool = False,
    ) -> str:
        """Create a repository with these files in one commit; return the commit hash."""
        repo = Repo(repo_id, repo_type, private=private, gated=gated)
        self.repos[repo_type, repo_id] = repo
        return self.add_commit(repo_id, files or {}, repo_type=repo_type)

    def add_commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        revision: str = "main",
        repo_type: str = "model",
    ) -> str:
        """Add or replace files as another client would; return the commit hash."""
        repo = self.repos[repo_type, repo_id]
        blobs = {path: Blob(data, stored_as_lfs(path, data)) for path, data in files.items()}
        self.lfs |= {blob.sha256: blob for blob in blobs.values() if blob.lfs}
        merged = repo.commit_at(revision).files | blobs
        return repo.commit(revision, merged, f"Add {len(files)} files", repo.namespace).oid

    def files(
        self, repo_id: str, revision: str = "main", *, repo_type: str = "model"
    ) -> dict[str, bytes]:
        """Return the files at a branch, tag, pull request ("refs/pr/1") or commit."""
        commit = self.repos[repo_type, repo_id].commit_at(revision)
        return {path: blob.content for path, blob in commit.files.items()}

    def commits(
        self, repo_id: str, revision: str = "main", *, repo_type: str = "model"
    ) -> list[Commit]:
        """Return the history, newest first; the last one is the Hub's "initial commit"."""
        return self.repos[repo_type, repo_id].history(revision)

    def downloads(self) -> list[Request]:
        """Return the requests for file contents, in order."""
        return [request for request in self.log if request.method == "GET" and request.file]

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Return the environment of a fresh process that uses this Hub, this token and a cache in `home`."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN": token or "",
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # plain LFS, like a client without hf_xet
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    # Faults

    def cut(
        self, method: str, path: str, *, after: int, times: int = 1, reset: bool = False
    ) -> None:
        """Cut the connection after `after` bytes of the body: the response for GET, else the request.

        Args:
            method: HTTP method of the affected requests.
            path: Substring of their path: "model.safetensors", "/lfs/", "/commit/".
            after: Bytes to let through; with 0 there is no response at all.
            times: Number of requests affected; huggingface_hub retries by itself.
            reset: Reset the connection (RST) instead of closing it (FIN).
        """
        self._faults.append(Fault(method, path, times, after=after, reset=reset))

    def refuse(self, method: str, path: str, *, status: int, times: int = 1) -> None:
        """Respond with an error status."""
        self._faults.append(Fault(method, path, times, status=status))

    def alter(self, repo_id: str, path: str, content: bytes) -> None:
        """Send other bytes for a file than its size, hash and ETag announce."""
        self._altered[repo_id, path] = content

    def mend(self) -> None:
        """Remove all faults."""
        self._faults.clear()
        self._altered.clear()

    def fault_for(self, method: str, path: str) -> Fault | None:
        """Return the fault that applies to this request and count it down."""
        with self.lock:
            for fault in self._faults:
                if fault.times > 0 and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def content_to_send(self, repo_id: str, path: str, content: bytes) -> bytes:
        """Return the bytes to send for a file, altered or not."""
        return self._altered.get((repo_id, path), content)

    def url_of(self, repo: Repo) -> str:
        prefix = "" if repo.type == "model" else f"{repo.type}s/"
        return f"{self.endpoint}/{prefix}{repo.id}"

    # The server

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def cdn(self) -> str:
        """A second origin for large files, as on the Hub; the client must not send the token there."""
        return f"http://localhost:{self._port}"

    def start(self) -> None:
        """Start listening; after `stop`, on the same port."""
        self._server = Listener(self, self._port)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Go down: break open connections and refuse new ones."""
        if self._server:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
