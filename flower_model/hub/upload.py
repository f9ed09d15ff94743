"""Uploads to the Hugging Face Hub, in one atomic commit."""

from collections.abc import Collection, Mapping
from pathlib import Path

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_session,
    hf_hub_url,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    build_hf_headers,
    filter_repo_objects,
    hf_raise_for_status,
    validate_repo_id,
)

from flower_model.errors import HubError, shorten
from flower_model.hub.errors import no_write_access, translate_hub_errors
from flower_model.hub.source import HubSource


def check_login(repo_id: str, *, create_pr: bool = False) -> None:
    """Check that a push with the saved token is likely to succeed, without changing anything.

    Args:
        repo_id: "user/repo".
        create_pr: The push is going to open a pull request, which needs no write access.

    Raises:
        HubError: If the token is missing, invalid or read-only, or the repository name is invalid
            or belongs to another user.
    """
    with translate_hub_errors(HubSource(repo_id)):
        validate_repo_id(repo_id)
        user = HfApi().whoami()
    owner, slash, _ = repo_id.partition("/")
    owners = [user["name"], *(org["name"] for org in user.get("orgs", []))]
    if not slash or (owner not in owners and not create_pr):
        raise HubError(
            f"You are logged in to the Hub as {user['name']} and can't push to "
            f"'{shorten(repo_id)}'. Use {user['name']}/{repo_id.rpartition('/')[2]}."
        )
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise no_write_access(repo_id)


def read_published(source: HubSource, name: str) -> bytes | None:
    """Return the content of a small file of a Hub repository, or None if there is no such file.

    Raises:
        HubError: If the Hub refuses or can't be reached.
    """
    with translate_hub_errors(source):
        url = hf_hub_url(source.repo_id, name, revision=source.revision)
        headers = build_hf_headers(token=source.token)
        response = get_session().get(
            url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        )
        try:
            hf_raise_for_status(response)
        except (EntryNotFoundError, RevisionNotFoundError, RepositoryNotFoundError):
            return None
        content: bytes = response.content
    return content


def upload(
    source: HubSource,
    files: Mapping[str, Path | bytes],
    *,
    commit_message: str,
    private: bool | None = None,
    create_pr: bool = False,
    repo_type: str = "model",
    replace_patterns: Collection[str] = (),
) -> CommitInfo:
    """Upload files in one commit to a Hub repository, which is created if it does not exist.

    Args:
        source: The repository; its revision is the branch, created from the main branch if it
            does not exist.
        files: Name in the repository -> local file or content.
        commit_message: Title of the commit.
        private: Visibility of a new repository; None for the owner's default.
        create_pr: Open a pull request instead of committing to the branch.
        repo_type: "model", or "space" for a Gradio Space.
        replace_patterns: Delete existing files that match one of these patterns, such as
            "folder/*", and are not in `files`.

    Raises:
        HubError: If the Hub refuses or can't be reached; there is no commit then.
    """
    api = HfApi(token=source.token)
    repo_id, revision = source.repo_id, source.revision
    sdk = "gradio" if repo_type == "space" else None
    with translate_hub_errors(source):
        api.create_repo(repo_id, private=private, repo_type=repo_type, space_sdk=sdk, exist_ok=True)
        if revision and not create_pr:
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, content) for name, content in files.items()
        ]
        if replace_patterns:
            existing = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
            replaced = filter_repo_objects(existing, allow_patterns=list(replace_patterns))
            operations += [CommitOperationDelete(name) for name in replaced if name not in files]
        return api.create_commit(
            repo_id,
            operations,
            commit_message=commit_message,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
        )
