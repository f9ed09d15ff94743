"""Files from the Hugging Face Hub, and one sentence when there are none to be had."""

from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from flower_model.errors import HubError, ModelError


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
        The folder of the cache that the files lie in.

    Raises:
        ModelError: If `repo_id` can only be a path, and there is nothing.
        HubError: If the repository, the revision or a file does not exist or can't be fetched.
    """
    if Path(repo_id).is_absolute() or repo_id.startswith((".", "~")) or repo_id.count("/") > 1:
        raise ModelError(f"There is no model folder '{repo_id}': check the path.")
    offline = offline or not _hub_answers(repo_id, files[0], revision, token)
    try:
        for name in files:
            path = huggingface_hub.hf_hub_download(
                repo_id,
                name,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=offline,
            )
    except HFValidationError:
        raise ModelError(
            f"'{repo_id}' is neither a model folder nor a Hub repository (user/repo)."
        ) from None
    except GatedRepoError:
        raise HubError(
            f"The Hub repository '{repo_id}' asks you to accept its terms on its page first."
        ) from None
    except RepositoryNotFoundError:
        raise HubError(
            f"There is no folder and no Hub repository '{repo_id}', or it is private and the "
            "token can't read it: check the name or run `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise HubError(f"The Hub repository '{repo_id}' has no revision '{revision}'.") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise HubError(
            f"There is no folder '{repo_id}', and the Hub can't be reached to look for a "
            "repository of that name: check the name and the network."
        ) from None
    except EntryNotFoundError:
        raise HubError(
            f"The Hub repository '{repo_id}' has no {name}, so it is not in timm's Hub layout."
        ) from None
    except Exception as error:  # noqa: BLE001  # the HTTP client's errors differ between versions
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise HubError(f"'{repo_id}' can't be fetched from the Hub ({reason}).") from None
    return Path(path).parent


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
