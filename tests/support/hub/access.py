"""Authentication and permissions, with the error messages of the real Hub."""

from typing import TYPE_CHECKING

from tests.support.hub.messages import HubError, Request
from tests.support.hub.repos import Repo, User

if TYPE_CHECKING:
    from tests.support.hub import HubServer


def authenticate(hub: "HubServer", request: Request) -> User | None:
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not token:
        return None
    if token not in hub.users:
        raise HubError(401, "Invalid credentials in Authorization header")
    return hub.users[token]


def readable(hub: "HubServer", request: Request, kind: str, id: str) -> Repo:
    """Return the repository; a private one looks missing to users without read access."""
    repo = hub.repos.get((kind.removesuffix("s"), id))
    user = request.user
    if repo is None or (repo.private and not (user and user.owns(repo))):
        raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
    return repo


def writable(hub: "HubServer", request: Request, kind: str, id: str, pr: bool = False) -> Repo:
    """Return the repository if the user may push to it or, with `pr`, open a pull request."""
    user = request.user
    if user is None:
        raise HubError(401, "Invalid username or password.")
    repo = readable(hub, request, kind, id)
    if not user.write:
        raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
    if not pr and not user.owns(repo):
        raise HubError(
            403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"
        )
    return repo


def check_gate(hub: "HubServer", request: Request, repo: Repo) -> None:
    """Refuse files of a gated repository to users without access; its existence is public."""
    user = request.user
    if not repo.gated or (user and user.owns(repo)):
        return
    if user is None:
        message = f"Access to model {repo.id} is restricted. You must have access to it and be"
        raise HubError(401, f"{message} authenticated to access it. Please log in.", "GatedRepo")
    message = f"Access to model {repo.id} is restricted and you are not in the authorized list."
    raise HubError(403, f"{message} Visit {hub.url_of(repo)} to ask for access.", "GatedRepo")
