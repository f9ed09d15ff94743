"""Repositories, commits and blobs of the loopback Hub, hashed as in git and Git LFS."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from tests.support.hub.messages import HubError


@dataclass(frozen=True)
class User:
    """The owner of a token and the token's write permission."""

    name: str
    write: bool
    orgs: tuple[str, ...] = ()

    def owns(self, repo: "Repo") -> bool:
        return repo.namespace in (self.name, *self.orgs)


@dataclass(frozen=True)
class Blob:
    """The content of a file, stored in git or in LFS."""

    content: bytes
    lfs: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def oid(self) -> str:
        """The git hash; for a file in LFS, that of its pointer."""
        return git_hash("blob", self.pointer if self.lfs else self.content)

    @property
    def pointer(self) -> bytes:
        return (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.sha256}\nsize {len(self.content)}\n"
        ).encode()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    author: str
    date: datetime
    files: dict[str, Blob]


@dataclass
class Repo:
    """A model, dataset or Space, created with the Hub's initial commit."""

    id: str
    type: str
    private: bool = False
    gated: bool = False
    sdk: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables of a Space."""
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    """"refs/heads/main", "refs/tags/v1" or "refs/pr/1" -> commit."""

    def __post_init__(self) -> None:
        attributes = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
        files = {".gitattributes": Blob(attributes, lfs=False)}
        if self.type == "space":
            readme = f"---\ntitle: {self.name}\nsdk: {self.sdk or 'gradio'}\n---\n".encode()
            files["README.md"] = Blob(readme, lfs=False)
        self.refs["refs/heads/main"] = self._add(None, files, "initial commit", "system").oid

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    @property
    def name(self) -> str:
        return self.id.split("/")[-1]

    def ref(self, revision: str) -> str | None:
        """Return the full name of a branch, tag or pull request, or None."""
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((name for name in names if name in self.refs), None)

    def commit_at(self, revision: str) -> Commit:
        ref = self.ref(revision)
        oid = self.refs[ref] if ref else revision
        if oid not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> list[Commit]:
        """Return the commits, newest first."""
        commits = [self.commit_at(revision)]
        while parent := commits[-1].parent:
            commits.append(self.commits[parent])
        return commits

    def commit(self, revision: str, files: dict[str, Blob], title: str, author: str) -> Commit:
        """Create a commit on the branch `revision`."""
        ref = self.ref(revision)
        if ref is None or ref.startswith("refs/tags/"):
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        commit = self._add(self.refs[ref], files, title, author)
        self.refs[ref] = commit.oid
        return commit

    def open_pull_request(
        self, revision: str, files: dict[str, Blob], title: str, author: str
    ) -> tuple[int, Commit]:
        """Create a commit under a new pull request ref, leaving the branch unchanged."""
        commit = self._add(self.commit_at(revision).oid, files, title, author)
        number = 1 + sum(ref.startswith("refs/pr/") for ref in self.refs)
        self.refs[f"refs/pr/{number}"] = commit.oid
        return number, commit

    def _add(self, parent: str | None, files: dict[str, Blob], title: str, author: str) -> Commit:
        date = datetime.now(UTC)
        named = f"{self.id} {len(self.commits)} {parent} {title} {author} {date}"
        commit = Commit(git_hash("commit", named.encode()), parent, title, author, date, files)
        self.commits[commit.oid] = commit
        return commit


def git_hash(kind: str, content: bytes) -> str:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(content), content)).hexdigest()
