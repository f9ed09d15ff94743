"""A model repository on the Hugging Face Hub, with the options to access it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import constants, parse_hf_uri
from huggingface_hub.errors import HfUriError

from flower_model.errors import HubError, ModelError, shorten
from flower_model.hub.errors import redact

TIMM_PREFIXES = ("hf-hub:", "hf_hub:")


@dataclass(frozen=True)
class HubSource:
    """A repository and how to access it.

    Attributes:
        repo_id: "user/repo".
        revision: Branch, tag or commit; None for the main branch.
        token: Hub token, stripped; None or "" for the one saved by `hf auth login`, if any.
        cache_dir: Folder for downloads, with ~ expanded; None for the Hub client's cache.
        offline: Use only cached files.

    Raises:
        HubError: If the token contains characters that can't be part of one.
    """

    repo_id: str
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    offline: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.token, str):
            token = self.token.strip()
            if not token.isascii() or not token.isprintable() or " " in token:
                raise HubError(
                    "The Hub token contains spaces or other invalid characters. Copy it again from "
                    f"{constants.ENDPOINT}/settings/tokens."
                )
            object.__setattr__(self, "token", token or None)
        if self.cache_dir is not None:  # some functions of the Hub client expand ~, others don't
            object.__setattr__(self, "cache_dir", os.path.expanduser(self.cache_dir))

    @property
    def is_offline(self) -> bool:
        """True if only cached files may be used, which HF_HUB_OFFLINE also asks for."""
        return self.offline or constants.HF_HUB_OFFLINE

    @classmethod
    def parse(cls, name: str, *, revision: str | None = None, **access: Any) -> "HubSource":
        """Parse the name of a Hub repository.

        Args:
            name: "user/repo", "user/repo@revision", the same after "hf-hub:" or "hf://", or the
                repository's web address.
            revision: Branch, tag or commit, unless the name has it.
            access: Other attributes of the result.

        Raises:
            ModelError: If the name can't be that of a model repository.

        Example:
            >>> HubSource.parse("hf-hub:user/repo@v1").revision
            'v1'
        """
        for prefix in TIMM_PREFIXES:
            name = name.removeprefix(prefix)
        uri = name if "://" in name else f"hf://{name}"
        try:
            parsed = parse_hf_uri(uri, endpoint=constants.ENDPOINT)
        except HfUriError:
            parsed = None
        has_path = parsed and parsed.path_in_repo and "://" not in name
        if parsed is None or parsed.type != "model" or has_path:
            raise ModelError(
                f"'{redact(shorten(name))}' is neither a model folder nor a model repository on "
                "the Hub. Give a folder or a name like user/repo."
            )
        if revision and parsed.revision and revision != parsed.revision:
            raise ModelError(
                f"'{shorten(name)}' and the revision '{shorten(revision)}' disagree. Give only one."
            )
        return cls(parsed.id, revision or parsed.revision, **access)
