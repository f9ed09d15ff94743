"""Files from the Hugging Face Hub: from the cache, resumed where they were cut, checked by hash."""

import hashlib
import os
import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
from filelock import FileLock, Timeout
from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import HfFileMetadata, http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers

from flower_model.errors import HubError, ModelError
from flower_model.hub.errors import told_in_one_sentence


def download(
    repo_id: str,
    files: Sequence[str],
    *,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | Path | None,
    offline: bool,
) -> Path:
    """Fetches files of a Hub repository, or finds them in the cache when the Hub can't be reached.

    Args:
        repo_id: "user/repo".
        files: Names of the files, at least one.
        revision: Branch, tag or commit; None is the main branch.
        token: For private repositories; None is the one saved by `hf auth login`.
        cache_dir: Where downloads are kept; None is the Hub client's own place.
        offline: Look in the cache only.

    Returns:
        The folder of the cache that the files lie in; its name is the commit they are of.

    Raises:
        ModelError: If `repo_id` can only be a path, and there is nothing.
        HubError: If the repository, the revision or a file does not exist, can't be fetched or
            does not arrive as the Hub holds it.
    """
    if Path(repo_id).is_absolute() or repo_id.startswith((".", "~")) or repo_id.count("/") > 1:
        raise ModelError(f"There is no model folder '{repo_id}': check the path.")
    offline = offline or huggingface_hub.constants.HF_HUB_OFFLINE
    paths: list[Path] = []
    for name in files:
        with told_in_one_sentence(repo_id, revision, token, name, offline):
            cached = huggingface_hub.try_to_load_from_cache(repo_id, name, cache_dir, revision)
            pinned = bool(re.fullmatch("[0-9a-f]{40}", revision or "")) and isinstance(cached, str)
            known = None  # a commit that is in the cache never changes
            if not offline and not pinned:
                known = _ask(repo_id, name, revision, token, is_cached=isinstance(cached, str))
            if known:
                _resume(repo_id, name, known, token, cache_dir)
            path = huggingface_hub.hf_hub_download(
                repo_id,
                name,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=not known,
            )
        paths.append(Path(path))
        if not _is_as_announced(paths[-1].resolve()):
            paths[-1].resolve().unlink()  # the next call fetches it again
            raise _altered(repo_id, name)
        revision = paths[-1].parent.name  # the rest is taken from the same commit
    return paths[0].parent


def _ask(
    repo_id: str, file: str, revision: str | None, token: str | bool | None, *, is_cached: bool
) -> HfFileMetadata | None:
    """What the Hub says of a file, or None if it does not answer.

    hf_hub_download would find that out too, but retries for half a minute even for what is cached.
    """
    url = huggingface_hub.hf_hub_url(repo_id, file, revision=revision)
    try:
        return huggingface_hub.get_hf_file_metadata(url, token=token)
    except HfHubHTTPError as error:
        status = error.response.status_code
        asked_too_often = status == HTTPStatus.TOO_MANY_REQUESTS
        if status < HTTPStatus.INTERNAL_SERVER_ERROR and not (asked_too_often and is_cached):
            raise
    except Exception:  # noqa: BLE001  # no connection: the HTTP client's errors differ between versions
        return None
    return None


def _resume(
    repo_id: str,
    file: str,
    known: HfFileMetadata,
    token: str | bool | None,
    cache_dir: str | Path | None,
) -> None:
    """Fetches a large file to where hf_hub_download finds it, going on where an earlier call was cut.

    The client itself resumes within one call only: it deletes what it has when it gives up.
    """
    cache = Path(cache_dir or huggingface_hub.constants.HF_HUB_CACHE)
    blob = cache / repo_folder_name(repo_id=repo_id, repo_type="model") / "blobs" / str(known.etag)
    by_xet = known.xet_file_data and find_spec("hf_xet")  # keeps the parts it has by itself
    if blob.exists() or by_xet or not known.etag or (known.size or 0) < DOWNLOAD_CHUNK_SIZE:
        return
    headers = build_hf_headers(token=token)
    if urlsplit(known.location).netloc != urlsplit(huggingface_hub.constants.ENDPOINT).netloc:
        headers.pop("authorization", None)  # a store that is not the Hub need not know it
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{blob.name}.partial")
    try:
        with FileLock(f"{partial}.lock", timeout=0), partial.open("ab") as already:
            http_get(
                known.location,
                already,
                resume_size=already.tell(),
                headers=headers,
                expected_size=known.size,
                displayed_filename=file,
            )
    except Timeout:
        return  # another process is at it; the client fetches its own copy
    if _sha256(partial) != known.etag:
        partial.unlink()
        raise _altered(repo_id, file)
    os.replace(partial, blob)


def _altered(repo_id: str, file: str) -> HubError:
    return HubError(
        f"{file} of the Hub repository '{repo_id}' was altered on its way here (it does not have "
        "the hash that the Hub announced): try again."
    )


def _is_as_announced(blob: Path) -> bool:
    """Whether a file of the cache has the hash that the Hub announced, which is its name there."""
    if re.fullmatch("[0-9a-f]{64}", blob.name):  # LFS: of the content
        return _sha256(blob) == blob.name
    if re.fullmatch("[0-9a-f]{40}", blob.name):  # git: of a header and the content
        content = blob.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name
    return True  # where the system has no links (Windows), the cache keeps no hash


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
