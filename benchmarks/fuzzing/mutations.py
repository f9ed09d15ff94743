"""Random damage to files: flipped bits, changed numbers, cuts, spliced and repeated parts."""

import random
import struct
from collections.abc import Sequence

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Return a damaged copy of a file.

    Args:
        data: The content of the file.
        rng: Random generator.
        others: Files from which parts are spliced in.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        damage = rng.choice((flip, flip, number, number, number, cut, fill, splice, repeat))
        data = damage(data, rng, others) or b"\0"
    return data


def flip(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Flip one or several bits."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 2, 10))):
        damaged[_position(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def number(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Overwrite an integer, which may be a length, a size or an offset."""
    at, form = _position(data, rng), rng.choice((">B", ">H", "<H", ">I", "<I"))
    value = rng.choice((*NUMBERS, rng.randrange(2**32))) % 256 ** struct.calcsize(form)
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def cut(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Remove the end, or a part of the middle."""
    start, end = sorted((_position(data, rng), rng.randrange(len(data))))
    return data[:start] + (data[end:] if rng.random() < 0.5 else b"")


def fill(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Overwrite a part with one byte."""
    at, length = _position(data, rng), rng.choice((1, 4, 16, 64))
    return data[:at] + rng.choice((b"\0", b"\xff", rng.randbytes(1))) * length + data[at + length :]


def splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Join the beginning of one file and the end of another, or insert a part of it."""
    other, at = rng.choice(others), _position(data, rng)
    start, end = sorted((rng.randrange(len(other)), rng.randrange(len(other))))
    return data[:at] + other[start : start + len(data)] if rng.random() < 0.5 else (
        data[:at] + other[start : min(end, start + 500)] + data[at:]
    )  # fmt: skip


def repeat(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Repeat a part."""
    at, length = _position(data, rng), rng.choice((4, 12, 64, 256))
    return data[:at] + data[at : at + length] * rng.choice((2, 5, 30)) + data[at + length :]


def _position(data: bytes, rng: random.Random) -> int:
    # Half of the damage hits the first bytes, the header of most formats.
    return rng.randrange(min(len(data), 512) if rng.random() < 0.5 else len(data))
