"""What the Hub answers: the part of its HTTP protocol that huggingface_hub 2 uses for models and Spaces.

Taken from the client's source (`hf_api`, `_commit_api`, `lfs`, `file_download`) and from answers of
huggingface.co that are on record. Left out: Xet storage and multipart uploads (LFS "basic" instead),
search, discussions, collections, jobs.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote

from hub_cards import card_errors, metadata_of
from hub_repos import Blob, HubError, Repo, User

if TYPE_CHECKING:
    from hub import HubServer, Request

LARGE = 10_000_000  # bytes; from there on every file is stored in LFS
LFS_SUFFIXES = (".bin", ".ckpt", ".h5", ".npz", ".onnx", ".pkl", ".pt", ".pth", ".safetensors")
REPO_NAME = re.compile(r"(?!.*(--|\.\.))(?![-.])[\w.-]{1,96}(?<![-.])(?<!\.git)", re.ASCII)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    """The path in its repository, when the body is a file's content."""


def answer(hub: "HubServer", request: "Request") -> Answer:
    """Finds the route of a request. Raises HubError where the Hub refuses."""
    for method, pattern, route in ROUTES:
        groups = re.fullmatch(pattern, request.path)
        if groups and (request.method == method or (request.method, method) == ("HEAD", "GET")):
            parts = {name: unquote(part) for name, part in groups.groupdict().items() if part}
            return route(hub, request, **parts)
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def refusal(error: HubError) -> Answer:
    headers = {"Content-Type": "application/json", "X-Error-Message": error.message}
    if error.code:
        headers["X-Error-Code"] = error.code
    return Answer(
        error.status, json.dumps({"error": error.message}).encode(), headers | error.headers
    )


def stored_as_lfs(path: str, sample: bytes, size: int | None = None) -> bool:
    """Large and binary files are; `sample` is a file's beginning when its size is given."""
    size = len(sample) if size is None else size
    return path.endswith(LFS_SUFFIXES) or size > LARGE or b"\0" in sample[:512]


# Who asks, and for what


def authenticate(hub: "HubServer", request: "Request") -> User | None:
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not token:
        return None
    if token not in hub.users:
        raise HubError(401, "Invalid credentials in Authorization header")
    return hub.users[token]


def readable(hub: "HubServer", request: "Request", kind: str, id: str) -> Repo:
    """The repository; a private one does not exist for those who may not read it."""
    repo = hub.repos.get((kind.removesuffix("s"), id))
    user = request.user
    if repo is None or (repo.private and not (user and user.owns(repo))):
        raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
    return repo


def writable(hub: "HubServer", request: "Request", kind: str, id: str, pr: bool = False) -> Repo:
    """The repository, when the user may push to it, or open a pull request if `pr`."""
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


def url_of(hub: "HubServer", repo: Repo) -> str:
    prefix = "" if repo.type == "model" else f"{repo.type}s/"
    return f"{hub.endpoint}/{prefix}{repo.id}"


def reply(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(
        status, json.dumps(value).encode(), {"Content-Type": "application/json"} | headers
    )


# Accounts and repositories


def whoami(hub: "HubServer", request: "Request") -> Answer:
    user = request.user
    if user is None:
        raise HubError(401, "Invalid username or password.")
    role = "write" if user.write else "read"
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
    orgs = [{"type": "org", "name": org, "roleInOrg": "write"} for org in user.orgs]
    return reply({"type": "user", "name": user.name, "orgs": orgs, "auth": token})


def create_repo(hub: "HubServer", request: "Request") -> Answer:
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
        url = url_of(hub, existing)
        return reply({"error": f"You already created this {kind} repo", "url": url}, 409)
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    repo = Repo(repo_id, kind, private=private, sdk=wanted.get("sdk"))
    repo.variables = {item["key"]: item["value"] for item in wanted.get("variables", [])}
    hub.repos[kind, repo_id] = repo
    return reply({"url": url_of(hub, repo), "name": repo_id, "id": repo_id})


def repo_info(
    hub: "HubServer", request: "Request", kind: str, id: str, revision: str = "main"
) -> Answer:
    repo = readable(hub, request, kind, id)
    commit = repo.commit_at(revision)
    readme = commit.files.get("README.md")
    card = metadata_of(readme.content.decode()) if readme else {}
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
    if "blobs" in request.query:
        for sibling in siblings:
            blob = commit.files[sibling["rfilename"]]
            sibling |= {"size": len(blob.content), "blobId": blob.oid}
            if blob.lfs:
                size = len(blob.content)
                pointer = len(blob.pointer)
                sibling["lfs"] = {"sha256": blob.sha256, "size": size, "pointerSize": pointer}
    return reply(
        {
            "_id": "0" * 24,
            "id": repo.id,
            "modelId": repo.id,
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
    hub: "HubServer", request: "Request", kind: str, id: str, revision: str, path: str = ""
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


def paths_info(hub: "HubServer", request: "Request", kind: str, id: str, revision: str) -> Answer:
    files = readable(hub, request, kind, id).commit_at(revision).files
    paths = parse_qs(request.body.decode()).get("paths", [])
    return reply([entry_of(path, files[path]) for path in paths if path in files])


def entry_of(path: str, blob: Blob) -> dict[str, Any]:
    size = len(blob.content)
    entry = {"type": "file", "oid": blob.oid, "size": size, "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": size, "pointerSize": len(blob.pointer)}
    return entry


def refs(hub: "HubServer", request: "Request", kind: str, id: str) -> Answer:
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


def commits(hub: "HubServer", request: "Request", kind: str, id: str, revision: str) -> Answer:
    repo = readable(hub, request, kind, id)
    return reply(
        [
            {
                "id": commit.oid,
                "title": commit.title,
                "message": "",
                "authors": [{"user": commit.author}],
                "date": f"{commit.date:%Y-%m-%dT%H:%M:%S.000Z}",
            }
            for commit in repo.history(revision)
        ]
    )


def create_ref(
    hub: "HubServer", request: "Request", kind: str, id: str, what: str, name: str
) -> Answer:
    """A branch `name` from a starting point, or a tag on the revision `name`."""
    repo, wanted = writable(hub, request, kind, id), json.loads(request.body or b"{}")
    if what == "branch":
        ref, start = f"refs/heads/{name}", wanted.get("startingPoint") or "main"
    else:
        ref, start = f"refs/tags/{wanted['tag']}", name
    if ref in repo.refs:
        raise HubError(409, f"Reference already exists: {ref}")
    repo.refs[ref] = repo.commit_at(start).oid
    return reply({})


def space_variables(hub: "HubServer", request: "Request", id: str) -> Answer:
    if request.method == "GET":
        repo = readable(hub, request, "spaces", id)
    else:
        repo, wanted = writable(hub, request, "spaces", id), json.loads(request.body)
        repo.variables[wanted["key"]] = wanted.get("value", "")
    return reply({key: {"key": key, "value": value} for key, value in repo.variables.items()})


# Uploads


def validate_yaml(hub: "HubServer", request: "Request") -> Answer:
    wanted = json.loads(request.body)
    errors = card_errors(wanted["content"], wanted["repoType"])
    warnings = []
    if not errors and not metadata_of(wanted["content"]):
        warnings.append({"message": "empty or missing yaml metadata in repo card"})
    return reply({"errors": errors, "warnings": warnings}, 400 if errors else 200)


def preupload(hub: "HubServer", request: "Request", kind: str, id: str, revision: str) -> Answer:
    repo = writable(hub, request, kind, id, pr="create_pr" in request.query)
    files = repo.commit_at(revision).files
    answers = []
    for wanted in json.loads(request.body)["files"]:
        path, sample = wanted["path"], base64.b64decode(wanted["sample"])
        mode = "lfs" if stored_as_lfs(path, sample, wanted["size"]) else "regular"
        oid = files[path].etag if path in files else None
        answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return reply({"files": answers})


def lfs_batch(hub: "HubServer", request: "Request", id: str, kind: str = "models") -> Answer:
    """Where to put each object, or nothing for those that are there already."""
    writable(hub, request, kind, id, pr=True)
    objects = []
    for wanted in json.loads(request.body)["objects"]:
        result: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in hub.lfs:
            upload = {"href": f"{hub.cdn}/lfs/{wanted['oid']}?size={wanted['size']}"}
            result["actions"] = {"upload": upload, "verify": {"href": f"{hub.endpoint}/lfs/verify"}}
        objects.append(result)
    return reply({"transfer": "basic", "objects": objects})


def put_lfs(hub: "HubServer", request: "Request", oid: str) -> Answer:
    """The storage behind LFS: the signed address is the permission, and no object is kept unchecked."""
    blob = Blob(request.body, lfs=True)
    if blob.sha256 != oid or str(len(request.body)) != request.query["size"]:
        raise HubError(400, "XAmzContentSHA256Mismatch: the content is not the one announced")
    hub.lfs[oid] = blob
    return Answer(headers={"ETag": f'"{oid}"'})


def verify_lfs(hub: "HubServer", request: "Request") -> Answer:
    wanted = json.loads(request.body)
    blob = hub.lfs.get(wanted["oid"])
    if request.user is None or blob is None or len(blob.content) != wanted["size"]:
        raise HubError(404, "Object does not exist on the server")
    return reply({})


def commit(hub: "HubServer", request: "Request", kind: str, id: str, revision: str) -> Answer:
    """All of a commit's operations or, when one of them is refused, none."""
    pr = "create_pr" in request.query
    repo = writable(hub, request, kind, id, pr)
    lines = [json.loads(line) for line in request.body.splitlines()]
    header = lines[0]["value"]
    parent = repo.commit_at(header["parentCommit"] if pr and "parentCommit" in header else revision)
    if header.get("parentCommit", parent.oid) != parent.oid:
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(parent.files)
    for operation in lines[1:]:
        apply(hub, files, operation["key"], operation["value"])
    readme = files.get("README.md")
    if readme and (errors := card_errors(readme.content.decode(), repo.type)):
        raise HubError(400, f"Invalid metadata in README.md: {errors[0]['message']}")
    assert request.user
    result: dict[str, Any] = {"success": True, "hookOutput": ""}
    if pr:
        number, made = repo.open_pull_request(
            parent.oid, files, header["summary"], request.user.name
        )
        result["pullRequestUrl"] = f"{url_of(hub, repo)}/discussions/{number}"
    else:
        made = repo.commit(revision, files, header["summary"], request.user.name)
    result |= {"commitOid": made.oid, "commitUrl": f"{url_of(hub, repo)}/commit/{made.oid}"}
    return reply(result)


def apply(hub: "HubServer", files: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if key == "file":
        files[path] = Blob(base64.b64decode(value["content"]), lfs=False)
    elif key == "lfsFile":
        if value["oid"] not in hub.lfs:
            raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = hub.lfs[value["oid"]]
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    elif key == "deletedFolder":
        for name in [name for name in files if name.startswith(path.rstrip("/") + "/")]:
            del files[name]


# Downloads


def resolve(
    hub: "HubServer",
    request: "Request",
    id: str,
    revision: str,
    path: str,
    kind: str = "models",
) -> Answer:
    """A small file itself; for a large one the address of its content, which carries no token."""
    repo = readable(hub, request, kind, id)
    if repo.gated and not (request.user and request.user.owns(repo)):
        raise gated(hub, request, repo)
    commit = repo.commit_at(revision)
    headers = {"X-Repo-Commit": commit.oid}
    blob = commit.files.get(path)
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers)
    if not blob.lfs:
        headers |= {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        return content(hub, request, headers, id, path, blob)
    headers |= {"X-Linked-Size": str(len(blob.content)), "X-Linked-ETag": f'"{blob.etag}"'}
    headers["Location"] = f"{hub.cdn}/cdn/{blob.sha256}/{quote(id)}/{quote(path)}"
    return Answer(302, b"Found. Redirecting", headers)


def cdn(hub: "HubServer", request: "Request", oid: str, id: str, path: str) -> Answer:
    if "Authorization" in request.headers:
        raise HubError(400, "InvalidArgument: Only one auth mechanism allowed")
    headers = {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
    return content(hub, request, headers, id, path, hub.lfs[oid])


def content(
    hub: "HubServer", request: "Request", headers: dict[str, str], id: str, path: str, blob: Blob
) -> Answer:
    sent = blob.content if request.method == "HEAD" else hub.on_the_way(id, path, blob.content)
    return Answer(200, sent, headers, file=path)


def gated(hub: "HubServer", request: "Request", repo: Repo) -> HubError:
    if request.user is None:
        message = f"Access to model {repo.id} is restricted. You must have access to it and be"
        return HubError(401, f"{message} authenticated to access it. Please log in.", "GatedRepo")
    message = f"Access to model {repo.id} is restricted and you are not in the authorized list."
    return HubError(403, f"{message} Visit {url_of(hub, repo)} to ask for access.", "GatedRepo")


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
    ("GET", rf"{API}/commits{REVISION}", commits),
    ("POST", rf"{API}/(?P<what>branch|tag)/(?P<name>[^/]+)", create_ref),
    ("POST", rf"{API}/preupload{REVISION}", preupload),
    ("POST", rf"{API}/commit{REVISION}", commit),
    ("GET", r"/api/spaces/(?P<id>[^/]+/[^/]+)/variables", space_variables),
    ("POST", r"/api/spaces/(?P<id>[^/]+/[^/]+)/variables", space_variables),
    ("GET", API, repo_info),
    ("POST", rf"{PAGE}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", put_lfs),
    ("POST", r"/lfs/verify", verify_lfs),
    ("GET", rf"{PAGE}/resolve{REVISION}/(?P<path>.+)", resolve),
    ("GET", r"/cdn/(?P<oid>[0-9a-f]{64})/(?P<id>[^/]+/[^/]+)/(?P<path>.+)", cdn),
]
