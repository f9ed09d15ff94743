"""What a photo's file asks for before its pixels, checked before Pillow does what it asks."""

import io
import re
import struct
from collections.abc import Iterator

from PIL.JpegImagePlugin import MARKER

MAX_READS = 300_000  # of a parser's small steps; a large PNG takes 50,000
MAX_BLOCKS = 8_000  # reads of a GIF, whose comments Pillow joins one by one
MAX_CHUNKS = 50_000  # of a PNG
MAX_TEXTS = 10_000_000  # bytes of a PNG's chunks that hold no pixels
MAX_SEGMENTS = 2_000  # of a JPEG, 64 kB each; a phone's photo has some ten
MAX_METADATA = 1_000_000  # bytes of a JPEG's EXIF, and of its Photoshop resources
MAX_NUMBERS = 4_000_000  # bytes of a TIFF's lists of numbers, such as where its strips lie
MAX_SCANS = 100  # a progressive JPEG has some ten, and each costs a pass over all its pixels
START_OF_SCAN = b"\xff\xda\x00"  # with the first byte of its length, which is below 256

ARITHMETIC = (0xC9, 0xCA, 0xCB)  # JPEGs that no camera writes; five times as slow as all others
EXIF, PHOTOSHOP, SEVERAL = b"Exif\0\0", b"Photoshop 3.0\0", b"MPF\0"  # what segments begin with
NEXT_MARKER = re.compile(rb"\xff([^\x00\xff])")

# TIFF: bytes of a value by its type. Texts and bytes stay what they are, numbers become objects.
TEXTS = {1: 1, 2: 1, 6: 1, 7: 1}
NUMBERS = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class MeteredFile(io.BytesIO):
    """A file whose reader gives up when it makes too little of it.

    A hostile file of millions of empty chunks keeps Pillow's parsers, which are Python, busy for
    minutes.

    Raises:
        ValueError: On the read after the last.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_BLOCKS if data.startswith(b"GIF8") else MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many small parts")
        return super().read(size)


def check_header(data: bytes) -> None:
    """Refuses a file whose header asks for work or memory beyond any photo's.

    Raises:
        ValueError: If it does.
    """
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG"):
        _check_png(data)
    else:
        check_tags(data)


def check_tags(tiff: bytes) -> None:
    """Refuses a TIFF file, or EXIF, whose first directory claims more than the file holds.

    Pillow reads every tag at once: 5,000 that share the same 64 kB become 300 MB.

    Raises:
        ValueError: If it does.
    """
    tiff = tiff.removeprefix(EXIF)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return
    offset, count, entry = ("8xQ", "Q", "HHQ8x") if 43 in tiff[2:4] else ("4xI", "H", "HHI4x")
    try:
        (start,) = struct.unpack_from(order + offset, tiff)
        (tags,) = struct.unpack_from(order + count, tiff, start)
    except (struct.error, OverflowError):
        return  # no directory: Pillow finds out too
    start += struct.calcsize(order + count)
    length = struct.calcsize(order + entry)
    entries = tiff[start : start + tags * length]
    whole = memoryview(entries)[: len(entries) // length * length]
    texts = numbers = 0
    for _, kind, values in struct.iter_unpack(order + entry, whole):
        texts += TEXTS.get(kind, 0) * values
        numbers += NUMBERS.get(kind, 0) * values
    if numbers > MAX_NUMBERS or texts > 2 * len(tiff) + MAX_METADATA:
        raise ValueError("tags that claim more than there is")


def _check_jpeg(data: bytes) -> None:
    exif, photoshop = bytearray(), 0
    for number, (marker, content) in enumerate(_segments(data)):
        if marker in ARITHMETIC:
            raise ValueError("arithmetic coding")
        if marker == 0xE1 and content.startswith(EXIF):
            exif += content[len(EXIF) :]  # Pillow too makes one of several
        if marker == 0xE2 and content.startswith(SEVERAL):
            check_tags(content[len(SEVERAL) :])
        if marker == 0xED and content.startswith(PHOTOSHOP):
            photoshop += len(content)
        if number > MAX_SEGMENTS or max(len(exif), photoshop) > MAX_METADATA:
            raise ValueError("too much metadata")
    check_tags(bytes(exif))


def _check_png(data: bytes) -> None:
    at, chunks, texts = 8, 0, 0
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        chunks, texts = chunks + 1, texts + (0 if kind in (b"IDAT", b"fdAT") else length)
        if chunks > MAX_CHUNKS or texts > MAX_TEXTS:
            raise ValueError("too much besides the pixels")
        at += length + 12
        if kind == b"IEND":
            return


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of what comes before a JPEG's pixels, told apart as Pillow does."""
    at = 2
    while match := NEXT_MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        known = MARKER.get(0xFF00 | marker)
        if known is None or marker == 0xDA:
            return
        if known[2] is None:  # stands alone
            yield marker, b""
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        yield marker, data[at + 2 : at + length]
        at += max(length, 2)
