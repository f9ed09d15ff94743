"""Uploads and downloads: upload modes, LFS, commits, file contents."""

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.support.hub.access import check_gate, readable, writable
from tests.support.hub.cards import card_errors
from tests.support.hub.messages import Answer, HubError, Request, reply
from tests.support.hub.repos import Blob

if TYPE_CHECKING:
    from tests.support.hub import HubServer

LARGE = 10_000_000  # bytes; larger files are always stored in LFS
LFS_SUFFIXES = (".bin", ".ckpt", ".h5", ".npz", ".onnx", ".pkl", ".pt", ".pth", ".safetensors")


def preupload(hub: "HubServer", request: Request, kind: str, id: str, revision: str) -> Answer:
    repo = writable(hub, request, kind, id, pr="create_pr" in request.query)
    files = repo.commit_at(revision).files
    answers = []
    for wanted in json.loads(request.body)["files"]:
        path, sample = wanted["path"], base64.b64decode(wanted["sample"])
        mode = "lfs" if stored_as_lfs(path, sample, wanted["size"]) else "regular"
        oid = files[path].etag if path in files else None
        answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return reply({"files": answers})


def stored_as_lfs(path: str, sample: bytes, size: int | None = None) -> bool:
    """Return True for large and binary files; with `size`, `sample` is only the beginning of the file."""
    size = len(sample) if size is None else size
    return path.endswith(LFS_SUFFIXES) or size > LARGE or b"\0" in sample[:512]


def lfs_batch(hub: "HubServer", request: Request, id: str, kind: str = "models") -> Answer:
    """Return an upload URL for each object that is not stored yet."""
    writable(hub, request, kind, id, pr=True)
    objects = []
    for wanted in json.loads(request.body)["objects"]:
        result: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in hub.lfs:
            upload = {"href": f"{hub.cdn}/lfs/{wanted['oid']}?size={wanted['size']}"}
            result["actions"] = {"upload": upload, "verify": {"href": f"{hub.endpoint}/lfs/verify"}}
        objects.append(result)
    return reply({"transfer": "basic", "objects": objects})


def put_lfs(hub: "HubServer", request: Request, oid: str) -> Answer:
    """Store an LFS object after verifying its hash; the signed URL needs no token."""
    blob = Blob(request.body, lfs=True)
    if blob.sha256 != oid or str(len(request.body)) != request.query["size"]:
        raise HubError(400, "XAmzContentSHA256Mismatch: the content does not match its hash")
    hub.lfs[oid] = blob
    return Answer(headers={"ETag": f'"{oid}"'})


def verify_lfs(hub: "HubServer", request: Request) -> Answer:
    wanted = json.loads(request.body)
    blob = hub.lfs.get(wanted["oid"])
    if request.user is None or blob is None or len(blob.content) != wanted["size"]:
        raise HubError(404, "Object does not exist on the server")
    return reply({})


def create_commit(hub: "HubServer", request: Request, kind: str, id: str, revision: str) -> Answer:
    """Apply all operations of a commit or, if one is refused, none."""
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
        result["pullRequestUrl"] = f"{hub.url_of(repo)}/discussions/{number}"
    else:
        made = repo.commit(revision, files, header["summary"], request.user.name)
    result |= {"commitOid": made.oid, "commitUrl": f"{hub.url_of(repo)}/commit/{made.oid}"}
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


def resolve(
    hub: "HubServer", request: Request, id: str, revision: str, path: str, kind: str = "models"
) -> Answer:
    """Return a small file, or redirect to the CDN for a large one."""
    repo = readable(hub, request, kind, id)
    check_gate(hub, request, repo)
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


def cdn(hub: "HubServer", request: Request, oid: str, id: str, path: str) -> Answer:
    if "Authorization" in request.headers:
        raise HubError(400, "InvalidArgument: Only one auth mechanism allowed")
    headers = {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
    return content(hub, request, headers, id, path, hub.lfs[oid])


def content(
    hub: "HubServer", request: Request, headers: dict[str, str], id: str, path: str, blob: Blob
) -> Answer:
    sent = blob.content if request.method == "HEAD" else hub.content_to_send(id, path, blob.content)
    return Answer(200, sent, headers, file=path)
