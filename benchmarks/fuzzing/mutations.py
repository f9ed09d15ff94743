"""Damage as accidents and strangers do it: bits, lengths, cuts, files glued together."""

import random
import struct
from collections.abc import Sequence

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A damaged copy, of about the same length.

    Args:
        data: A file.
        rng: What chance decides.
        others: Files to take parts from.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        damage = rng.choice((flip, flip, number, number, number, cut, fill, splice, repeat))
        data = damage(data, rng, others) or b"\0"
    return data


def flip(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 2, 10))):
        damaged[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def number(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A length, a size or an offset becomes another."""
    at, form = _place(data, rng), rng.choice((">B", ">H", "<H", ">I", "<I"))
    value = rng.choice((*NUMBERS, rng.randrange(2**32))) % 256 ** struct.calcsize(form)
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def cut(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """The end is missing, or a part of the middle."""
    start, end = sorted((_place(data, rng), rng.randrange(len(data))))
    return data[:start] + (data[end:] if rng.random() < 0.5 else b"")


def fill(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    at, length = _place(data, rng), rng.choice((1, 4, 16, 64))
    return data[:at] + rng.choice((b"\0", b"\xff", rng.randbytes(1))) * length + data[at + length :]


def splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of one file and the end of another, or a part of it in between."""
    other, at = rng.choice(others), _place(data, rng)
    start, end = sorted((rng.randrange(len(other)), rng.randrange(len(other))))
    return data[:at] + other[start : start + len(data)] if rng.random() < 0.5 else (
        data[:at] + other[start : min(end, start + 500)] + data[at:]
    )  # fmt: skip


def repeat(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    at, length = _place(data, rng), rng.choice((4, 12, 64, 256))
    return data[:at] + data[at : at + length] * rng.choice((2, 5, 30)) + data[at + length :]


def _place(data: bytes, rng: random.Random) -> int:
    # Half of the damage goes to the first bytes, where a file says what the rest is.
    return rng.randrange(min(len(data), 512) if rng.random() < 0.5 else len(data))
