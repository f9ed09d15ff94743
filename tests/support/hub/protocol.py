"""The Hub's HTTP protocol, as far as huggingface_hub 2 uses it for models and Spaces.

Based on the client's source (`hf_api`, `_commit_api`, `lfs`, `file_download`) and on recorded responses
of huggingface.co. Not implemented: Xet storage and multipart uploads (LFS "basic" instead), search,
discussions, collections, jobs.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from tests.support.hub import transfers
from tests.support.hub.access import readable, writable
from tests.support.hub.cards import card_errors, metadata_of
from tests.support.hub.messages import Answer, HubError, Request, reply
from tests.support.hub.repos import Blob, Repo

if TYPE_CHECKING:
    from tests.support.hub import HubServer

REPO_NAME = re.compile(r"(?!.*(--|\.\.))(?![-.])[\w.-]{1,96}(?<![-.])(?<!\.git)", re.ASCII)


def answer(hub: "HubServer", request: Request) -> Answer:
    """Dispatch a request to its route. Raises HubError where the Hub would refuse it."""
    for method, pattern, route in ROUTES:
        groups = re.fullmatch(pattern, request.path)
        if groups and (request.method == method or (request.method, method) == ("HEAD", "GET")):
            parts = {name: unquote(part) for name, part in groups.groupdict().items() if part}
            return route(hub, request, **parts)
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def whoami(hub: "HubServer", request: Request) -> Answer:
    user = request.user
    if user is None:
        raise HubError(401, "Invalid username or password.")
    role = "write" if user.write else "read"
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
    orgs = [{"type": "org", "name": org, "roleInOrg": "write"} for org in user.orgs]
    return reply({"type": "user", "name": user.name, "orgs": orgs, "auth": token})


def create_repo(hub: "HubServer", request: Request) -> Answer:
    wanted, user = json.loads(request.body), request.user
    if user is None:
        raise HubError(401, "Invalid username or password.")
    kind, name = wanted.get("type") or "model", wanted["name"]
    namespace = wanted.get("organization") or user.name
    if not user.write or namespace not in (user.name, *user.orgs):
        raise HubError(
            403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"'
        )
    if not REPO_NAME.fullmatch(name):
        raise HubError(
            400,
            "Only regular characters and '-', '_', '.' are accepted. '--' and '..' are forbidden."
            " '-' and '.' cannot start or end the name. The name cannot end with \".git\"."
            " Max length is 96.",
        )
    repo_id = f"{namespace}/{name}"
    if existing := hub.repos.get((kind, repo_id)):
        url = hub.url_of(existing)
        return reply({"error": f"You already created this {kind} repo", "url": url}, 409)
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    repo = Repo(repo_id, kind, private=private, sdk=wanted.get("sdk"))
    repo.variables = {item["key"]: item["value"] for item in wanted.get("variables", [])}
    hub.repos[kind, repo_id] = repo
    return reply({"url": hub.url_of(repo), "name": repo_id, "id": repo_id})


def repo_info(
    hub: "HubServer", request: Request, kind: str, id: str, revision: str = "main"
) -> Answer:
    repo = readable(hub, request, kind, id)
    commit = repo.commit_at(revision)
    readme = commit.files.get("README.md")
    card = metadata_of(readme.content.decode()) if readme else {}
    siblings = [{"rfilename": path} for path in commit.files]
    if "blobs" in request.query:
        siblings = [sibling_of(path, blob) for path, blob in commit.files.items()]
    return reply(
        {
            "id": repo.id,
            "author": repo.namespace,
            "sha": commit.oid,
            "lastModified": f"{commit.date:%Y-%m-%dT%H:%M:%S.000Z}",
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": card.get("tags", []),
            "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"),
            "sdk": repo.sdk if repo.type == "space" else None,
            "cardData": card,
            "model-index": card.get("model-index"),
            "siblings": siblings,
        }
    )


def tree(
    hub: "HubServer", request: Request, kind: str, id: str, revision: str, path: str = ""
) -> Answer:
    files = readable(hub, request, kind, id).commit_at(revision).files
    below = f"{path}/" if path else ""
    inside = {name: blob for name, blob in files.items() if name.startswith(below)}
    if not inside:
        raise HubError(404, f'{path} does not exist on "{revision}"', "EntryNotFound")
    recursive = request.query.get("recursive", "").lower() in ("true", "1")
    folders: dict[str, None] = {}
    for name in inside:
        parts = name.removeprefix(below).split("/")[:-1]
        for depth in range(1, (len(parts) if recursive else min(len(parts), 1)) + 1):
            folders[below + "/".join(parts[:depth])] = None
    entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": p} for p in folders]
    for name, blob in inside.items():
        if recursive or "/" not in name.removeprefix(below):
            entries.append(entry_of(name, blob))
    return reply(entries)


def paths_info(hub: "HubServer", request: Request, kind: str, id: str, revision: str) -> Answer:
    files = readable(hub, request, kind, id).commit_at(revision).files
    if "json" in request.headers.get("Content-Type", ""):
        paths = json.loads(request.body)["paths"]
    else:
        paths = parse_qs(request.body.decode())["paths"]
    entries = [entry_of(path, files[path]) for path in paths if path in files]
    folders = [p for p in paths if any(name.startswith(f"{p}/") for name in files)]
    entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": p} for p in folders]
    return reply(entries)


def entry_of(path: str, blob: Blob) -> dict[str, Any]:
    size = len(blob.content)
    entry = {"type": "file", "oid": blob.oid, "size": size, "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": size, "pointerSize": len(blob.pointer)}
    return entry


def sibling_of(path: str, blob: Blob) -> dict[str, Any]:
    size = len(blob.content)
    sibling = {"rfilename": path, "size": size, "blobId": blob.oid}
    if blob.lfs:
        sibling["lfs"] = {"sha256": blob.sha256, "size": size, "pointerSize": len(blob.pointer)}
    return sibling


def refs(hub: "HubServer", request: Request, kind: str, id: str) -> Answer:
    repo = readable(hub, request, kind, id)

    def named(prefix: str, keep: str = "") -> list[dict[str, str]]:
        return [
            {"name": keep + ref.removeprefix(prefix), "ref": ref, "targetCommit": oid}
            for ref, oid in repo.refs.items()
            if ref.startswith(prefix)
        ]

    answer = {"branches": named("refs/heads/"), "converts": [], "tags": named("refs/tags/")}
    if "include_prs" in request.query:
        answer["pullRequests"] = named("refs/pr/", "refs/pr/")
    return reply(answer)


def create_ref(
    hub: "HubServer", request: Request, kind: str, id: str, what: str, name: str
) -> Answer:
    """Create a branch `name` from a starting point, or a tag on the revision `name`."""
    repo, wanted = writable(hub, request, kind, id), json.loads(request.body or b"{}")
    if what == "branch":
        ref, start = f"refs/heads/{name}", wanted.get("startingPoint") or "main"
    else:
        ref, start = f"refs/tags/{wanted['tag']}", name
    if ref in repo.refs:
        raise HubError(409, f"Reference already exists: {ref}")
    repo.refs[ref] = repo.commit_at(start).oid
    return reply({})


def space_variables(hub: "HubServer", request: Request, id: str) -> Answer:
    if request.method == "GET":
        repo = readable(hub, request, "spaces", id)
    else:
        repo, wanted = writable(hub, request, "spaces", id), json.loads(request.body)
        repo.variables[wanted["key"]] = wanted.get("value", "")
    return reply({key: {"key": key, "value": value} for key, value in repo.variables.items()})


def validate_yaml(hub: "HubServer", request: Request) -> Answer:
    wanted = json.loads(request.body)
    errors = card_errors(wanted["content"], wanted["repoType"])
    warnings = []
    if not errors and not metadata_of(wanted["content"]):
        warnings.append({"message": "empty or missing yaml metadata in repo card"})
    return reply({"errors": errors, "warnings": warnings}, 400 if errors else 200)


API = r"/api/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+(?:/[^/]+)?)"
PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<id>[^/]+(?:/[^/]+)?)"
REVISION = r"/(?P<revision>[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", r"/api/whoami-v2", whoami),
    ("POST", r"/api/repos/create", create_repo),
    ("POST", r"/api/validate-yaml", validate_yaml),
    ("GET", rf"{API}/revision{REVISION}", repo_info),
    ("GET", rf"{API}/tree{REVISION}(?:/(?P<path>.+))?", tree),
    ("POST", rf"{API}/paths-info{REVISION}", paths_info),
    ("GET", rf"{API}/refs", refs),
    ("POST", rf"{API}/(?P<what>branch|tag)/(?P<name>[^/]+)", create_ref),
    ("POST", rf"{API}/preupload{REVISION}", transfers.preupload),
    ("POST", rf"{API}/commit{REVISION}", transfers.create_commit),
    ("GET", r"/api/spaces/(?P<id>[^/]+/[^/]+)/variables", space_variables),
    ("POST", r"/api/spaces/(?P<id>[^/]+/[^/]+)/variables", space_variables),
    ("GET", API, repo_info),
    ("POST", rf"{PAGE}\.git/info/lfs/objects/batch", transfers.lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", transfers.put_lfs),
    ("POST", r"/lfs/verify", transfers.verify_lfs),
    ("GET", rf"{PAGE}/resolve{REVISION}/(?P<path>.+)", transfers.resolve),
    ("GET", r"/cdn/(?P<oid>[0-9a-f]{64})/(?P<id>[^/]+/[^/]+)/(?P<path>.+)", transfers.cdn),
]
