"""Files to the Hugging Face Hub, in one commit or none."""

from collections.abc import Collection, Mapping
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.utils import filter_repo_objects, validate_repo_id

from flower_model.errors import HubError
from flower_model.hub.errors import no_write_right, told_in_one_sentence


def check_login(repo_id: str, token: str | bool | None = None, *, create_pr: bool = False) -> None:
    """Finds out whether a push to `repo_id` can be expected to work, without changing anything.

    Args:
        repo_id: "user/repo".
        token: None is the one saved by `hf auth login`.
        create_pr: The push will be a pull request, which anybody may open.

    Raises:
        HubError: If there is no token, the Hub does not know it, it can only read, or the name
            is none that a repository of its owner can have.
    """
    with told_in_one_sentence(repo_id):
        validate_repo_id(repo_id)
        user = HfApi(token=token).whoami()
    owner, slash, _ = repo_id.partition("/")
    names = [user["name"], *(group["name"] for group in user.get("orgs", []))]
    if not slash or (owner not in names and not create_pr):
        raise HubError(
            f"The Hub login is {user['name']}'s, who can't push to '{repo_id}': "
            f"write it like {user['name']}/{repo_id.rpartition('/')[2]}."
        )
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise no_write_right(repo_id)


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
    replaces: Collection[str] = (),
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
        replaces: Patterns such as "folder/*": what is there of such a name and not in `files` goes.

    Raises:
        HubError: If the Hub refuses or can't be reached; then there is no commit.
    """
    api = HfApi(token=token)
    sdk = "gradio" if repo_type == "space" else None
    with told_in_one_sentence(repo_id, revision):
        api.create_repo(repo_id, private=private, repo_type=repo_type, space_sdk=sdk, exist_ok=True)
        if revision and not create_pr:
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, source) for name, source in files.items()
        ]
        if replaces:
            there = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
            old = filter_repo_objects(there, allow_patterns=list(replaces))
            operations += [CommitOperationDelete(name) for name in old if name not in files]
        return api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
        )
