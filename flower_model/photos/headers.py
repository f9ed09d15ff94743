"""Limits on the headers of image files, checked before Pillow parses them."""

import io
import re
import struct
from collections.abc import Iterator

from PIL.JpegImagePlugin import MARKER

MAX_READS = 300_000  # calls of read() by one parser; a large PNG needs 50,000
MAX_GIF_READS = 8_000  # fewer for GIF, since Pillow concatenates comments block by block
MAX_CHUNKS = 50_000  # per PNG
MAX_ANCILLARY = 10_000_000  # bytes of all PNG chunks without pixel data
MAX_SEGMENTS = 2_000  # per JPEG, of up to 64 kB each; photos from phones have about ten
MAX_METADATA = 1_000_000  # bytes of EXIF, and of Photoshop resources, per JPEG
MAX_NUMBERS = 4_000_000  # bytes of numeric TIFF tags, such as strip offsets
MAX_SCANS = 100  # progressive JPEGs have about ten; each scan visits all pixels
START_OF_SCAN = b"\xff\xda\x00"  # the marker and the high byte of its length, which is below 256

ARITHMETIC = (0xC9, 0xCA, 0xCB)  # arithmetic coding: five times slower, and no camera writes it
EXIF, PHOTOSHOP, MULTI_PICTURE = b"Exif\0\0", b"Photoshop 3.0\0", b"MPF\0"  # segment prefixes
NEXT_MARKER = re.compile(rb"\xff([^\x00\xff])")

# TIFF data type -> bytes per value. Pillow keeps text as bytes but makes each number an object.
TEXTS = {1: 1, 2: 1, 6: 1, 7: 1}
NUMBERS = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class MeteredFile(io.BytesIO):
    """An in-memory file with a limited number of reads.

    Malicious files of millions of empty chunks keep Pillow's pure-Python parsers busy for minutes.

    Raises:
        ValueError: On any read beyond the limit.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads_left = MAX_GIF_READS if data.startswith(b"GIF8") else MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ValueError("too many reads")
        return super().read(size)


def check_header(data: bytes) -> None:
    """Reject a file whose header demands more work or memory than any real photo.

    Raises:
        ValueError: If a limit is exceeded.
    """
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG"):
        _check_png(data)
    else:
        check_tags(data)


def check_tags(tiff: bytes) -> None:
    """Reject a TIFF file or EXIF block whose first directory claims more data than there is.

    Pillow reads all tags at once: 5,000 tags that point at the same 64 kB take 300 MB.

    Raises:
        ValueError: If the claimed sizes exceed the limits.
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
        return  # no directory, which Pillow detects itself
    start += struct.calcsize(order + count)
    length = struct.calcsize(order + entry)
    entries = tiff[start : start + tags * length]
    whole = memoryview(entries)[: len(entries) // length * length]
    texts = numbers = 0
    for _, kind, values in struct.iter_unpack(order + entry, whole):
        texts += TEXTS.get(kind, 0) * values
        numbers += NUMBERS.get(kind, 0) * values
    if numbers > MAX_NUMBERS or texts > 2 * len(tiff) + MAX_METADATA:
        raise ValueError("tags claim more data than the file has")


def _check_jpeg(data: bytes) -> None:
    exif, photoshop = bytearray(), 0
    for number, (marker, content) in enumerate(_segments(data)):
        if marker in ARITHMETIC:
            raise ValueError("arithmetic coding")
        if marker == 0xE1 and content.startswith(EXIF):
            exif += content[len(EXIF) :]  # Pillow concatenates them, too
        if marker == 0xE2 and content.startswith(MULTI_PICTURE):
            check_tags(content[len(MULTI_PICTURE) :])
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
        if chunks > MAX_CHUNKS or texts > MAX_ANCILLARY:
            raise ValueError("too much data other than pixels")
        at += length + 12
        if kind == b"IEND":
            return


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, content) of a JPEG's segments before its pixels, parsed the way Pillow does."""
    at = 2
    while match := NEXT_MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        known = MARKER.get(0xFF00 | marker)
        if known is None or marker == 0xDA:
            return
        if known[2] is None:  # a marker without content
            yield marker, b""
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        yield marker, data[at + 2 : at + length]
        at += max(length, 2)
