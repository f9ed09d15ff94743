"""A Hugging Face Hub on loopback, for tests that talk to it with the real client.

No kept package does this: `olah` on PyPI mirrors downloads only, and KohakuHub, which takes uploads
too, is a service of its own with a database, object storage and containers.

    with HubServer() as hub:
        token = hub.add_user("flora")
        hub.add_repo("flora/roses", {"config.json": b"{}"})
        subprocess.run([...], env=os.environ | hub.environment(tmp_path, token))
        hub.files("flora/roses")        # {"config.json": b"{}", ".gitattributes": …}

huggingface_hub reads HF_ENDPOINT once, when it is imported, so that code which names no endpoint needs
a fresh process; `HfApi(endpoint=hub.endpoint)` works anywhere. Here is what a test says to the Hub: who
and what there is, what goes wrong, what was asked. What the Hub says to the client is in `protocol`.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.hub.messages import Request
from tests.support.hub.repos import Blob, Commit, Repo, User
from tests.support.hub.transfers import stored_as_lfs
from tests.support.hub.wire import Fault, Listener

__all__ = ["HubServer", "Request"]


class HubServer:
    """A Hub that listens on 127.0.0.1 from `with` (or `start`) on.

    Attributes:
        endpoint: The value for HF_ENDPOINT.
        log: Every `Request` so far.
        bytes_per_second: How fast file contents come and go; None for as fast as can be.
    """

    def __init__(self) -> None:
        self.users: dict[str, User] = {}  # token -> user
        self.repos: dict[tuple[str, str], Repo] = {}  # (type, id) -> repo
        self.lfs: dict[str, Blob] = {}  # sha256 -> blob; uploaded, whether committed or not
        self.log: list[Request] = []
        self.bytes_per_second: float | None = None
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._altered: dict[tuple[str, str], bytes] = {}
        self._server: Listener | None = None
        self._port = 0

    # Who and what there is

    def add_user(self, name: str, *, write: bool = True, orgs: tuple[str, ...] = ()) -> str:
        """A token for the user, with the role "write" or "read"; a user may have several."""
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
        """A repository with these files in one commit; returns that commit's hash."""
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
        """Adds or replaces files, as somebody else's push; returns the commit's hash."""
        repo = self.repos[repo_type, repo_id]
        blobs = {path: Blob(data, stored_as_lfs(path, data)) for path, data in files.items()}
        self.lfs |= {blob.sha256: blob for blob in blobs.values() if blob.lfs}
        merged = repo.commit_at(revision).files | blobs
        return repo.commit(revision, merged, f"Add {len(files)} files", repo.namespace).oid

    def files(
        self, repo_id: str, revision: str = "main", *, repo_type: str = "model"
    ) -> dict[str, bytes]:
        """What the repository holds at a branch, tag, pull request ("refs/pr/1") or commit."""
        commit = self.repos[repo_type, repo_id].commit_at(revision)
        return {path: blob.content for path, blob in commit.files.items()}

    def commits(
        self, repo_id: str, revision: str = "main", *, repo_type: str = "model"
    ) -> list[Commit]:
        """The history, newest first; the last is the "initial commit" that the Hub makes."""
        return self.repos[repo_type, repo_id].history(revision)

    def downloads(self) -> list[Request]:
        """The requests that asked for the content of a file, in order."""
        return [request for request in self.log if request.method == "GET" and request.file]

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """For a fresh process: this Hub, this token or none, a cache below `home` and nowhere else."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN": token or "",
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # LFS, as from a client without hf_xet
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    # What goes wrong

    def cut(
        self, method: str, path: str, *, after: int, times: int = 1, reset: bool = False
    ) -> None:
        """Breaks the connection after so many bytes of a body: the sent one for GET, else the received.

        Args:
            method: The requests' method.
            path: A part of the requests' path: "model.safetensors", "/lfs/", "/commit/".
            after: Bytes that still pass; with 0 nothing is answered at all.
            times: How many requests; huggingface_hub tries again by itself.
            reset: By a reset (RST) rather than an orderly close (FIN).
        """
        self._faults.append(Fault(method, path, times, after=after, reset=reset))

    def refuse(self, method: str, path: str, *, status: int, times: int = 1) -> None:
        """Answers with an error status, as a Hub in trouble does."""
        self._faults.append(Fault(method, path, times, status=status))

    def alter(self, repo_id: str, path: str, content: bytes) -> None:
        """Sends other bytes for a file than its size, hash and ETag say."""
        self._altered[repo_id, path] = content

    def mend(self) -> None:
        """From now on nothing goes wrong."""
        self._faults.clear()
        self._altered.clear()

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, which counts it down."""
        with self.lock:
            for fault in self._faults:
                if fault.times > 0 and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def on_the_way(self, repo_id: str, path: str, content: bytes) -> bytes:
        """What arrives of a file's content."""
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
        """Another origin, as large files have it on the Hub: the client must send no token there."""
        return f"http://localhost:{self._port}"

    def start(self) -> None:
        """Listens; after `stop` on the same port again."""
        self._server = Listener(self, self._port)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Is down: open connections break and new ones are refused."""
        if self._server:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
