"""What the Hub's client raises, as errors of ours: one sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, constants
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
NETWORK = (ConnectionError, TimeoutError)


@contextmanager
def told_in_one_sentence(
    repo_id: str,
    revision: str | None = None,
    token: str | bool | None = None,
    file: str | None = None,
    offline: bool = False,
) -> Iterator[None]:
    """Turns what the Hub's client raises into errors of ours.

    Args:
        repo_id, revision, token: As for the Hub's client.
        file: What is being fetched; None if something is being pushed.
        offline: Whether it is looked for in the cache only.
    """
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
        if file:
            raise HubError(
                f"There is no Hub login to fetch '{repo_id}' with: run `hf auth login` or set HF_TOKEN."
            ) from None
        raise HubError(
            "There is no Hub login to push with: run `hf auth login` or set HF_TOKEN to a token "
            "that may write."
        ) from None
    except OfflineModeIsEnabled:
        raise HubError(
            f"HF_HUB_OFFLINE is set, so '{repo_id}' can't be reached on the Hub: unset it."
        ) from None
    except Exception as error:  # noqa: BLE001  # the HTTP client's errors differ between versions
        fetched = _fetch_error(error, repo_id, revision, token, file, offline) if file else None
        raise fetched or _hub_error(error, repo_id, revision) from None


def _fetch_error(
    error: Exception,
    repo_id: str,
    revision: str | None,
    token: str | bool | None,
    file: str,
    offline: bool,
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
    if isinstance(error, LocalEntryNotFoundError) and offline:
        return HubError(
            f"There is no folder '{repo_id}' and no such repository in the Hub's cache, and the Hub "
            "itself is not asked as long as HF_HUB_OFFLINE or local_files_only is set."
        )
    if isinstance(error, LocalEntryNotFoundError):
        return HubError(
            f"There is no folder '{repo_id}', and the Hub can't be reached to look for a "
            "repository of that name: check the name and the network."
        )
    if isinstance(error, EntryNotFoundError):
        return _missing(repo_id, revision, token, file)
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 403:
        return _refused(error, repo_id)
    # Of the disk; what the network raises has no number, or is one of these two.
    if isinstance(error, OSError) and error.errno and not isinstance(error, NETWORK):
        return HubError(
            f"'{repo_id}' can't be kept in the Hub's cache ({error.strerror}): make room there, or "
            "set HF_HOME to another folder."
        )
    return None


def _hub_error(error: Exception, repo_id: str, revision: str | None) -> HubError:
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"The Hub repository '{repo_id}' has no revision '{revision}'.")
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return HubError("The Hub does not know the token it was given: run `hf auth login` again.")
    if status == 403:
        return no_write_right(repo_id)
    if isinstance(error, HfHubHTTPError):
        return _refused(error, repo_id)
    return HubError(
        f"'{repo_id}': the connection to the Hub failed ({_first_line(error)}): try again."
    )


def _refused(error: HfHubHTTPError, repo_id: str) -> HubError:
    return HubError(f"The Hub refuses '{repo_id}' ({error.server_message or _first_line(error)}).")


def no_write_right(repo_id: str) -> HubError:
    return HubError(
        f"The Hub token may not write to '{repo_id}': make one with write permission at "
        f"{constants.ENDPOINT}/settings/tokens and run `hf auth login`."
    )


def _missing(repo_id: str, revision: str | None, token: str | bool | None, file: str) -> HubError:
    with told_in_one_sentence(repo_id, revision):
        names = HfApi(token=token).list_repo_files(repo_id, revision=revision)
    pickles = [name for name in names if name.endswith(PICKLES)]
    if file.endswith(".safetensors") and pickles:
        return HubError(
            f"The Hub repository '{repo_id}' holds its weights only as a pickle ({pickles[0]}), "
            "which is not opened because a pickle can run any program: ask for safetensors."
        )
    return HubError(f"The Hub repository '{repo_id}' has no {file}, so it is not in timm's layout.")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
