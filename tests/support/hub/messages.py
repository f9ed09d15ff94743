"""Request and response of the loopback Hub."""

import json
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.hub.repos import User


@dataclass
class Request:
    """A request as received by the server; `hub.log` lists them in order."""

    method: str
    path: str
    """As sent, percent-encoded and without the query."""
    query: dict[str, str]
    headers: Message
    body: bytes = b""
    """Cleared after the response, so that the log does not hold uploads."""
    user: "User | None" = None
    status: int | None = None
    """None if the connection was cut before the response."""
    file: str | None = None
    """Path in the repository, if the content of a file was requested."""

    @property
    def first_byte(self) -> int:
        """Offset from the Range header, 0 for a whole file."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    """Path in the repository, if the body is the content of a file."""


class HubError(Exception):
    """An error response with the Hub's wording and code, which the client maps to its exceptions."""

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
