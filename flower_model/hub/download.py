"""Downloads from the Hugging Face Hub: cached, resumed after interruptions, verified by hash."""

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
from filelock import FileLock, Timeout
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers

from flower_model.errors import HubError, WriteError, shorten
from flower_model.hub.errors import translate_hub_errors
from flower_model.hub.source import HubSource
from flower_model.system.files import atomic_path, file_digest


def download(source: HubSource, files: Sequence[str]) -> Path:
    """Download files of a Hub repository, or return cached ones if the Hub can't be reached.

    Args:
        source: The repository.
        files: Names of the files, at least one; all are taken from the same commit.

    Returns:
        The cache folder with the files, named after their commit. `remember` makes it the one that is
        found offline.

    Raises:
        HubError: If the repository, the revision or a file does not exist, can't be downloaded or
            arrives corrupted.
    """
    with translate_hub_errors(source, files[0]):
        source = _pin(source, files[0])
    for name in files:
        with translate_hub_errors(source, name):
            path = Path(_download_file(source, name))
        if not _has_announced_hash(path.resolve()):
            path.resolve().unlink()  # the next call downloads it again
            raise _corrupted(source, name)
        source = replace(source, revision=path.parent.name)
    return path.parent


def remember(source: HubSource, folder: Path) -> None:
    """Make a folder that `download` returned the one that is found offline, once it is complete.

    Args:
        source: The repository, as it was given to `download`.
        folder: The folder.
    """
    revision = source.revision or constants.DEFAULT_REVISION
    ref = _cache_folder(source) / "refs" / revision
    with suppress(OSError, WriteError):  # a cache that is read-only
        if revision != folder.name and not (ref.is_file() and ref.read_text() == folder.name):
            with atomic_path(ref) as temporary:
                temporary.write_text(folder.name)


def download_existing(source: HubSource, files: Sequence[str]) -> None:
    """Download optional files of a commit; missing files are not requested again.

    A failure is no error: the model works without these files, and the next call tries again.

    Args:
        source: The repository; its revision is the hash of a commit.
        files: Names of the files.
    """
    for name in files:
        cached = _cached(source, name)
        if cached is None or isinstance(cached, str):  # else known to be missing
            with suppress(HubError):
                download(source, (name,))


def _pin(source: HubSource, name: str) -> HubSource:
    """Return the source with its newest commit as the revision; the cached one if the Hub fails.

    Of a branch, the Hub client would remember the newest commit with the first file, and after an
    interruption find neither that commit's other files offline nor the complete former commit.
    """
    is_pinned = source.revision and re.fullmatch("[0-9a-f]{40}", source.revision)
    if is_pinned or source.is_offline:
        return source
    url = huggingface_hub.hf_hub_url(source.repo_id, name, revision=source.revision)
    try:
        commit = huggingface_hub.get_hf_file_metadata(url, token=source.token).commit_hash
    except (RevisionNotFoundError, EntryNotFoundError):
        raise
    except Exception:  # no network, proxy errors, an overloaded Hub, a lost permission
        cached = _cached(source, name)
        if not isinstance(cached, str):
            raise
        commit = Path(cached).parent.name
    return replace(source, revision=commit) if commit else source


def _download_file(source: HubSource, name: str) -> str:
    if not isinstance(_cached(source, name), str) and not source.is_offline:
        _download_large_file(source, name)
    return huggingface_hub.hf_hub_download(
        source.repo_id,
        name,
        revision=source.revision,
        token=source.token,
        cache_dir=source.cache_dir,
        local_files_only=source.offline,
    )


def _download_large_file(source: HubSource, name: str) -> None:
    """Download a large file into the cache, resuming an interrupted download.

    The Hub client resumes only within one call: it deletes the partial file when it gives up. It
    also retries for half a minute if the Hub can't be reached, where this raises immediately.
    """
    url = huggingface_hub.hf_hub_url(source.repo_id, name, revision=source.revision)
    try:
        metadata = huggingface_hub.get_hf_file_metadata(url, token=source.token)
    except EntryNotFoundError:
        return  # the Hub client raises it again, and remembers that the file is missing
    blob = _cache_folder(source) / "blobs" / str(metadata.etag)
    is_small = (metadata.size or 0) < constants.DOWNLOAD_CHUNK_SIZE
    uses_xet = metadata.xet_file_data and find_spec("hf_xet")  # resumes by itself
    if is_small or uses_xet or not metadata.etag or blob.exists():
        return
    headers = build_hf_headers(token=source.token)
    if urlsplit(metadata.location).netloc != urlsplit(constants.ENDPOINT).netloc:
        headers.pop("authorization", None)  # don't send the token to the CDN
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{blob.name}.partial")
    try:
        with FileLock(f"{partial}.lock", timeout=0), partial.open("ab") as file:
            http_get(
                metadata.location,
                file,
                resume_size=file.tell(),
                headers=headers,
                expected_size=metadata.size,
                displayed_filename=name,
            )
    except Timeout:
        return  # another process is downloading it; the Hub client downloads a separate copy
    if file_digest(partial) != metadata.etag:
        partial.unlink()
        raise _corrupted(source, name)
    os.replace(partial, blob)


def _cached(source: HubSource, name: str) -> object:
    """Return the path of a cached file, None, or another object if the file is known to be missing."""
    return huggingface_hub.try_to_load_from_cache(
        source.repo_id, name, source.cache_dir, source.revision
    )


def _cache_folder(source: HubSource) -> Path:
    cache = Path(source.cache_dir or constants.HF_HUB_CACHE)
    return cache / repo_folder_name(repo_id=source.repo_id, repo_type="model")


def _corrupted(source: HubSource, name: str) -> HubError:
    return HubError(
        f"{name} of the Hub repository '{shorten(source.repo_id)}' was corrupted during the "
        "download: its hash is wrong. Try again."
    )


def _has_announced_hash(blob: Path) -> bool:
    """Return True if a cached file matches its name, which is the hash announced by the Hub."""
    if re.fullmatch("[0-9a-f]{64}", blob.name):  # LFS: hash of the content
        return file_digest(blob) == blob.name
    if re.fullmatch("[0-9a-f]{40}", blob.name):  # git: hash of a header and the content
        content = blob.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name
    return True  # without symbolic links (Windows), the cache has no hashes
