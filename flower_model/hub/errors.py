"""Errors of the Hub client as HubErrors with an actionable message, without tokens or passwords."""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import getproxies

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

from flower_model.errors import FlowerModelError, HubError, shorten

if TYPE_CHECKING:
    from flower_model.hub.source import HubSource

PICKLES = (".bin", ".pt", ".pth", ".pth.tar", ".pkl", ".ckpt", ".h5", ".msgpack")


@contextmanager
def translate_hub_errors(source: "HubSource", file: str | None = None) -> Iterator[None]:
    """Raise what the Hub client raises as a HubError, in a download of `file` or in an upload."""
    try:
        yield
    except FlowerModelError:
        raise
    except Exception as error:  # noqa: BLE001  # the HTTP client's exceptions differ between versions
        cause: BaseException = error
        if isinstance(error, LocalEntryNotFoundError) and not source.is_offline:
            cause = error.__cause__ or error
        message = (
            _access_error(cause, source)
            or (_download_error(cause, source, file) if file else None)
            or _connection_error(cause, source, is_download=bool(file))
        )
        raise HubError(redact(message, source.token)) from None


def no_write_access(repo_id: str) -> HubError:
    """Return the error for a token without write access."""
    return HubError(
        f"The Hub token has no write access to '{shorten(repo_id)}'. Create one with write "
        f"permission at {constants.ENDPOINT}/settings/tokens and run `hf auth login`."
    )


def explain_missing_weights(file: str, names: Collection[str]) -> str:
    """Return why a folder or repository with these files lacks the weights `file`, and what to do."""
    others = sorted(name for name in names if name.endswith(".safetensors"))
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if f"{file}.index.json" in names or any("-of-" in name for name in others):
        return f"has sharded weights. Merge the shards into one {file}."
    if pickles:
        return (
            f"has its weights only as a pickle ('{shorten(pickles[0])}'), which can run any code "
            f"when loaded. Convert it to {file}."
        )
    if others:
        return f"has no {file} but '{shorten(others[0])}'. Rename it if it holds the weights."
    return f"has no {file}. Download the model again."


def redact(message: str, token: str | bool | None = None) -> str:
    """Return a message with tokens and the passwords in URLs replaced by ***."""
    if isinstance(token, str):
        message = message.replace(token, "***")
    message = re.sub(r"(Bearer )[^'\"]+|hf_[A-Za-z0-9]{10,}", r"\1***", message)
    return re.sub(r"(?<=://)[^/@\s]+@", "***@", message)


# Kinds of errors of the client -> messages; the first kind that fits counts.
ACCESS_ERRORS: dict[type[Exception], str] = {
    HFValidationError: "'{repo}' is not a valid repository name. Write it like user/repo, with "
    "letters, digits, '-', '_' and '.'.",
    LocalTokenNotFoundError: "There is no Hub login for '{repo}'. Run `hf auth login` or set HF_TOKEN.",
    OfflineModeIsEnabled: "HF_HUB_OFFLINE is set, so '{repo}' can't be reached on the Hub. Unset it.",
    RevisionNotFoundError: "The Hub repository '{repo}' has no revision '{revision}'.",
    UnicodeEncodeError: "The Hub token has invalid characters. Run `hf auth login` again.",
}


def _access_error(error: BaseException, source: "HubSource") -> str | None:
    """Return the message for an invalid name, token or permission, or None for another error."""
    for kind, text in ACCESS_ERRORS.items():
        if isinstance(error, kind):
            return text.format(repo=shorten(source.repo_id), revision=shorten(source.revision))
    is_missing = isinstance(error, GatedRepoError | RepositoryNotFoundError)
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 401 and not is_missing:
        return f"The Hub rejected the token ({_reason(error, source)}). Run `hf auth login` again."
    return None


def _download_error(error: BaseException, source: "HubSource", file: str) -> str | None:
    """Return the message for a file that can't be found or stored, or None for another error."""
    repo_id = shorten(source.repo_id)
    if isinstance(error, GatedRepoError):
        return f"The Hub repository '{repo_id}' is gated. Accept its terms on its web page first."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no folder and no Hub repository '{repo_id}', or it is private and the token "
            "can't read it. Check the name or run `hf auth login`."
        )
    if isinstance(error, LocalEntryNotFoundError) and source.is_offline:
        return (
            f"There is no folder '{repo_id}' and no cached Hub repository of that name, and "
            "HF_HUB_OFFLINE or local_files_only forbids downloading it."
        )
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return _missing_file(source, file)
    is_from_network = (
        isinstance(error, ConnectionError | TimeoutError) or _is_certificate_file_missing()
    )
    if isinstance(error, OSError) and error.errno and not is_from_network:
        return (
            f"'{repo_id}' can't be stored in the Hub cache ({error.strerror}). Free some space or "
            "set HF_HOME to another folder."
        )
    return None


def _connection_error(error: BaseException, source: "HubSource", *, is_download: bool) -> str:
    repo_id = shorten(source.repo_id)
    if isinstance(error, HfHubHTTPError):
        if error.response.status_code == 403 and not is_download:
            return str(no_write_access(source.repo_id))
        return f"The Hub at {constants.ENDPOINT} refused '{repo_id}' ({_reason(error, source)})."
    task = f"There is no folder '{repo_id}', and" if is_download else f"Can't upload '{repo_id}':"
    failed = f"{task} the connection to the Hub failed ({_reason(error, source)})."
    if _is_certificate_file_missing():
        return f"{failed} SSL_CERT_FILE names a file that does not exist. Correct or unset it."
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"{failed} Set SSL_CERT_FILE to the CA certificates of your network."
    if getproxies().keys() - {"no"}:
        return f"{failed} Check the proxy in HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."
    if "HF_ENDPOINT" in os.environ:
        return f"{failed} Check HF_ENDPOINT ({shorten(constants.ENDPOINT)}) or try again."
    return f"{failed} Check the network and try again."


def _is_certificate_file_missing() -> bool:
    path = os.environ.get("SSL_CERT_FILE", "")
    return path != "" and not os.path.exists(path)


def _missing_file(source: "HubSource", file: str) -> str:
    with translate_hub_errors(source):
        names = HfApi(token=source.token).list_repo_files(source.repo_id, revision=source.revision)
    repo = f"The Hub repository '{shorten(source.repo_id)}'"
    if file.endswith(".safetensors"):
        return f"{repo} {explain_missing_weights(file, names)}"
    return f"{repo} has no {file}, so it is not in timm's layout."


def _reason(error: BaseException, source: "HubSource") -> str:
    server_message = error.server_message if isinstance(error, HfHubHTTPError) else None
    text = server_message or str(error).strip() or type(error).__name__
    first_line = redact(text, source.token).splitlines()[0]  # before shortening can split a token
    return shorten(first_line.rstrip("."), 120)
