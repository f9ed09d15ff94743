"""A request to the Hub on loopback and the answer to it."""

import json
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.hub.repos import User


@dataclass
class Request:
    """One request as the server saw it; `hub.log` holds them in order."""

    method: str
    path: str
    """As sent, percent-encoded and without the query."""
    query: dict[str, str]
    headers: Message
    body: bytes = b""
    """Empty once it is answered: a log need not hold uploads."""
    user: "User | None" = None
    status: int | None = None
    """None when the connection was cut before an answer."""
    file: str | None = None
    """The path in its repository of a file whose content was asked for."""

    @property
    def first_byte(self) -> int:
        """Where the client asked to resume, 0 for a whole file."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    """The path in its repository, when the body is a file's content."""


class HubError(Exception):
    """A refusal, worded and coded as the Hub does: the client makes its exception classes of it."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


def reply(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(
        status, json.dumps(value).encode(), {"Content-Type": "application/json"} | headers
    )


def refusal(error: HubError) -> Answer:
    headers = {"Content-Type": "application/json", "X-Error-Message": error.message}
    if error.code:
        headers["X-Error-Code"] = error.code
    return Answer(
        error.status, json.dumps({"error": error.message}).encode(), headers | error.headers
    )
