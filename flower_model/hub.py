"""Files to and from the Hugging Face Hub, and one sentence when that can't be done."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from flower_model.errors import FlowerModelError, HubError, ModelError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


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
    paths: list[Path] = []
    for name in files:
        with _told_in_one_sentence(repo_id, revision, token, name):
            cached = huggingface_hub.try_to_load_from_cache(repo_id, name, cache_dir, revision)
            # A commit never changes; and without a network the client retries for half a minute.
            pinned = bool(re.fullmatch("[0-9a-f]{40}", revision or "")) and isinstance(cached, str)
            here = offline or pinned or not _hub_answers(repo_id, name, revision, token)
            path = huggingface_hub.hf_hub_download(
                repo_id,
                name,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=here,
            )
        paths.append(Path(path))
        if not _is_as_announced(paths[-1]):
            paths[-1].resolve().unlink()  # the next call fetches it again
            raise HubError(
                f"{name} of the Hub repository '{repo_id}' was altered on its way here "
                "(it does not have the hash that the Hub announced): try again."
            )
        revision = paths[-1].parent.name  # the rest is taken from the same commit
    return paths[0].parent


def check_login(repo_id: str, token: str | bool | None = None) -> None:
    """Finds out whether a push to `repo_id` can be expected to work, without changing anything.

    Raises:
        HubError: If there is no token, the Hub does not know it, it can only read, or the name
            is none that a repository of its owner can have.
    """
    with _told_in_one_sentence(repo_id):
        huggingface_hub.utils.validate_repo_id(repo_id)
        user = HfApi(token=token).whoami()
    owner, slash, _ = repo_id.partition("/")
    names = [user["name"], *(group["name"] for group in user.get("orgs", []))]
    if not slash or owner not in names:
        raise HubError(
            f"The Hub login is {user['name']}'s, who can't push to '{repo_id}': "
            f"write it like {user['name']}/{repo_id.rpartition('/')[2]}."
        )
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise _no_write_right(repo_id)


def upload(
    repo_id: str,
    files: Mapping[str, Path | bytes],
    *,
    message: str,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    repo_type: str = "model",
    replaces: str | None = None,
) -> CommitInfo:
    """Makes one commit of files in a Hub repository, which is created if there is none.

    Args:
        repo_id: "user/repo".
        files: Name in the repository -> local file, or its content.
        message: Of the commit.
        token: None is the one saved by `hf auth login`.
        private: Whether a repository that is created is private; None is the owner's default.
        revision: Branch to commit to, made from the main branch if there is none.
        create_pr: Open a pull request instead of committing to the branch.
        repo_type: "model", or "space" for a Gradio Space.
        replaces: Files of this folder in the repository that are not in `files` are deleted.

    Raises:
        HubError: If the Hub refuses or can't be reached; then there is no commit.
    """
    api = HfApi(token=token)
    sdk = "gradio" if repo_type == "space" else None
    with _told_in_one_sentence(repo_id, revision):
        api.create_repo(repo_id, private=private, repo_type=repo_type, space_sdk=sdk, exist_ok=True)
        if revision and not create_pr:
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, source) for name, source in files.items()
        ]
        if replaces:
            there = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
            gone = [n for n in there if n.startswith(f"{replaces}/") and n not in files]
            operations += [CommitOperationDelete(name) for name in gone]
        return api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
        )


@contextmanager
def _told_in_one_sentence(
    repo_id: str,
    revision: str | None = None,
    token: str | bool | None = None,
    file: str | None = None,
) -> Iterator[None]:
    """Turns what the Hub's client raises into errors of ours; `file` is what is being fetched."""
    try:
        yield
    except FlowerModelError:
        raise
    except HFValidationError:
        if file:
            raise ModelError(
                f"'{repo_id}' is neither a model folder nor a Hub repository (user/repo)."
            ) from None
        raise HubError(
            f"'{repo_id}' can't be the name of a Hub repository: write it like user/repo, with "
            "letters, digits, '-', '_' and '.'."
        ) from None
    except LocalTokenNotFoundError:
        raise HubError(
            "There is no Hub login to push with: run `hf auth login` or set HF_TOKEN to a token "
            "that may write."
        ) from None
    except OfflineModeIsEnabled:
        raise HubError(
            f"HF_HUB_OFFLINE is set, so '{repo_id}' can't be reached on the Hub: unset it."
        ) from None
    except Exception as error:  # noqa: BLE001  # the HTTP client's errors differ between versions
        fetched = _fetch_error(error, repo_id, revision, token, file) if file else None
        raise fetched or _hub_error(error, repo_id, revision) from None


def _fetch_error(
    error: Exception, repo_id: str, revision: str | None, token: str | bool | None, file: str
) -> HubError | None:
    if isinstance(error, GatedRepoError):
        return HubError(
            f"The Hub repository '{repo_id}' asks you to accept its terms on its page first."
        )
    if isinstance(error, RepositoryNotFoundError):
        return HubError(
            f"There is no folder and no Hub repository '{repo_id}', or it is private and the "
            "token can't read it: check the name or run `hf auth login`."
        )
    if isinstance(error, LocalEntryNotFoundError):
        return HubError(
            f"There is no folder '{repo_id}', and the Hub can't be reached to look for a "
            "repository of that name: check the name and the network."
        )
    if isinstance(error, EntryNotFoundError):
        return _missing(repo_id, revision, token, file)
    return None


def _hub_error(error: Exception, repo_id: str, revision: str | None) -> HubError:
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"The Hub repository '{repo_id}' has no revision '{revision}'.")
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return HubError("The Hub does not know the token it was given: run `hf auth login` again.")
    if status == 403:
        return _no_write_right(repo_id)
    if isinstance(error, HfHubHTTPError):
        reason = error.server_message or _first_line(error)
        return HubError(f"The Hub refuses '{repo_id}' ({reason}).")
    return HubError(
        f"'{repo_id}': the connection to the Hub failed ({_first_line(error)}): try again."
    )


def _no_write_right(repo_id: str) -> HubError:
    return HubError(
        f"The Hub token may not write to '{repo_id}': make one with write permission at "
        f"{huggingface_hub.constants.ENDPOINT}/settings/tokens and run `hf auth login`."
    )


def _missing(repo_id: str, revision: str | None, token: str | bool | None, file: str) -> HubError:
    with _told_in_one_sentence(repo_id, revision):
        names = HfApi(token=token).list_repo_files(repo_id, revision=revision)
    pickles = [name for name in names if name.endswith(PICKLES)]
    if file.endswith(".safetensors") and pickles:
        return HubError(
            f"The Hub repository '{repo_id}' holds its weights only as a pickle ({pickles[0]}), "
            "which is not opened because a pickle can run any program: ask for safetensors."
        )
    return HubError(f"The Hub repository '{repo_id}' has no {file}, so it is not in timm's layout.")


def _is_as_announced(path: Path) -> bool:
    """Whether a file of the cache has the hash that the Hub announced: its real name in the cache."""
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name):  # LFS: of the content
        with blob.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == blob.name
    if re.fullmatch("[0-9a-f]{40}", blob.name):  # git: of a header and the content
        content = blob.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name
    return True  # where the system has no links (Windows), the cache keeps no hash


def _hub_answers(repo_id: str, file: str, revision: str | None, token: str | bool | None) -> bool:
    """Without a network hf_hub_download retries for half a minute, even for what is cached."""
    try:
        url = huggingface_hub.hf_hub_url(repo_id, file, revision=revision)
        huggingface_hub.get_hf_file_metadata(url, token=token)
    except HfHubHTTPError:
        pass  # an answer too: hf_hub_download tells which
    except Exception:  # noqa: BLE001  # the HTTP client's errors, which differ between versions
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
