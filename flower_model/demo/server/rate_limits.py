"""Limits of a served page, and its rate limits per client address, which is never stored or logged."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Scope

from flower_model.demo.server.refusals import UPLOAD, Refused, rate_limited

GENEROUS_RATE = RateLimitItemPerMinute(600)


@dataclass(frozen=True)
class Limits:
    """Limits of a served page.

    Attributes:
        queue: Requests that may wait at the same time.
        rate: Requests, and separately uploads, per client.
        include_local: Apply `rate` to clients on this computer too.
        max_bytes: Size of one upload request, all files together.
        max_photo_bytes: Size of one photo.
        keep_seconds: Time after which an uploaded photo is deleted.
    """

    queue: int = 200
    rate: RateLimitItem | None = GENEROUS_RATE
    include_local: bool = False
    max_bytes: int = 1_000_000_000
    max_photo_bytes: int = 100_000_000
    keep_seconds: float = 600


class RateLimiter:
    """Counts the requests of each client in a sliding window.

    A client is an IP address. Behind a reverse proxy, uvicorn reads it from X-Forwarded-For if the
    proxy runs on this computer or FORWARDED_ALLOW_IPS lists it; otherwise all visitors that come
    through the proxy count as one client.

    Args:
        rate: Requests, and separately uploads, that one client may send; None for no limit.
        include_local: Also limit clients on this computer.
    """

    def __init__(self, rate: RateLimitItem | None, include_local: bool) -> None:
        self._rate, self._include_local = rate, include_local
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._key = secrets.token_bytes(16)

    def count(self, scope: Scope) -> None:
        """Count one request.

        Raises:
            Refused: If the client has reached its limit.
        """
        address = _parse_address(scope)
        local = isinstance(address, IPv4Address | IPv6Address) and address.is_loopback
        if self._rate is None or (local and not self._include_local):
            return
        client, kind = _client(address), "upload" if scope["path"] == UPLOAD else "request"
        if not self._limiter.hit(self._rate, client, kind):
            reset = self._limiter.get_window_stats(self._rate, client, kind).reset_time
            raise Refused(rate_limited(max(1, round(reset - time.time()))))

    def pseudonym(self, scope: Scope) -> str:
        """Return a keyed hash of the client's address, meaningless after a restart."""
        client = _client(_parse_address(scope)).encode()
        return hashlib.blake2b(client, key=self._key, digest_size=4).hexdigest()


def _parse_address(scope: Scope) -> IPv4Address | IPv6Address | str:
    text = scope["client"][0] if scope.get("client") else ""
    try:
        address = ip_address(text)
    except ValueError:
        return str(text)
    # A dual-stack proxy writes an IPv4 address as ::ffff:198.51.100.1.
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _client(address: IPv4Address | IPv6Address | str) -> str:
    """Return the key of a client; an IPv6 client owns a whole /64 network."""
    if isinstance(address, IPv6Address):
        return str(ip_network(f"{address}/64", strict=False))
    return str(address)
