"""Who asks, and how often: by address, which is nowhere written down."""

import hashlib
import secrets
import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Scope

from flower_model.demo.server.refusals import UPLOAD, Refused, too_often


class Visitors:
    """Counts what each visitor asks.

    A visitor is an address. Behind a reverse proxy uvicorn takes it from X-Forwarded-For, if the
    proxy is on this computer or FORWARDED_ALLOW_IPS names it; else all are one visitor.

    Args:
        rate: How often one visitor may ask, and how often upload; None if as often as they like.
        everyone: Whether this also holds for visitors on this computer.
    """

    def __init__(self, rate: RateLimitItem | None, everyone: bool) -> None:
        self._rate, self._everyone = rate, everyone
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._key = secrets.token_bytes(16)

    def count(self, scope: Scope) -> None:
        """Notes that a visitor asks.

        Raises:
            Refused: If he has asked too often.
        """
        address = _address(scope)
        here = _is_here(address)
        # What an MCP client asks was counted when it came; Gradio then asks itself.
        again = here and (b"x-gradio-user", b"mcp") in scope["headers"]
        if self._rate is None or again or (here and not self._everyone):
            return
        who, what = _visitor(address), "upload" if scope["path"] == UPLOAD else "question"
        if not self._limiter.hit(self._rate, who, what):
            frees = self._limiter.get_window_stats(self._rate, who, what).reset_time
            raise Refused(too_often(max(1, round(frees - time.time()))))

    def pseudonym(self, scope: Scope) -> str:
        """Tells visitors apart in the log until the page is restarted, and nothing else of them."""
        who = _visitor(_address(scope)).encode()
        return hashlib.blake2b(who, key=self._key, digest_size=4).hexdigest()


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _is_here(address: str) -> bool:
    ip = _ip(address)
    return ip is not None and ip.is_loopback


def _visitor(address: str) -> str:
    """An address; of the billions that one visitor has in IPv6, what they have in common."""
    ip = _ip(address)
    if ip is None:
        return address
    return str(ip if ip.version == 4 else ip_network(f"{ip}/64", strict=False))


def _ip(address: str) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    # A proxy that listens for both kinds writes an IPv4 address as ::ffff:198.51.100.1.
    return (ip.ipv4_mapped if ip.version == 6 else None) or ip
