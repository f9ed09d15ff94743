"""Malicious files: decompression bombs, floods of empty parts, false sizes, non-images named .jpg."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from benchmarks.fuzzing.seeds import chunk, draw_picture, encoded, png_of, run_length_bmp

LARGE = 90_000_000  # bytes; below the upload limit of the page


def photo_attacks() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, one at a time because some are close to the upload limit."""
    for name, make in PHOTO_ATTACKS.items():
        yield name, make()
    jpeg = encoded(draw_picture(), "JPEG")
    for orientation in (0, 9, 65535, "six", (1, 2, 3), 6.5, b"\xff"):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x829A] = 0.01
        tiff = tiff_with([(0x0112, *tag_value(orientation))])
        yield (
            f"JPEG whose orientation is {orientation!r}",
            jpeg_with(jpeg, 0xE1, b"Exif\0\0" + tiff),
        )
    for name, content in NON_IMAGES.items():
        yield f"{name} named .jpg", content


def zip_attacks() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of zips that a visitor could upload."""
    photo = encoded(draw_picture(), "JPEG")
    for name in ("../../out.jpg", "/out.jpg", "C:\\out.jpg", "a\0b.jpg", "CON.jpg", "x" * 60_000):
        yield f"zip with the name {name[:20]!r}", make_zip({name: photo})
    yield (
        "zip in a zip in a zip",
        make_zip({"a.zip": make_zip({"b.zip": make_zip({"c.jpg": photo})})}),
    )
    yield "zip bomb of zeros", make_zip({f"{i}.jpg": bytes(30_000_000) for i in range(4)})
    yield (
        "zip of 60,000 empty files",
        make_zip({f"{i}": b"" for i in range(60_000)}, zipfile.ZIP_STORED),
    )
    yield "zip that overlaps itself", _overlapping(photo, 300)
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = 0o120777 << 16
    yield "zip with a link", make_zip({link: b"/etc/passwd"})
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"zip bomb, compression {kind}", make_zip({"a.jpg": bytes(30_000_000)}, kind)
    small = make_zip({"a.jpg": photo})
    for size in (0, 1, 2**31, 2**32 - 1):
        true, lie = struct.pack("<I", len(photo)), struct.pack("<I", size)
        yield f"zip whose photo claims {size} bytes", small.replace(true, lie)
    yield "zip that begins with a photo", photo + small
    yield "zip whose directory claims 4 GB", small[:-10] + struct.pack("<I", 2**32 - 1) + small[-6:]


def _png_header(width: int, height: int, kind: int = 2, bits: int = 8) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))


def _png(width: int, height: int, kind: int = 2, bits: int = 8, between: bytes = b"") -> bytes:
    """Return a PNG whose pixels are all 0."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    packer = zlib.compressobj(1)
    row = bytes(1 + -(-width * channels * bits // 8))
    at_once = max(1, 2**20 // len(row))  # one call per row would be slow
    blocks = (row * min(at_once, height - done) for done in range(0, height, at_once))
    pixels = b"".join(map(packer.compress, blocks)) + packer.flush()
    header = _png_header(width, height, kind, bits)
    start = b"\x89PNG\r\n\x1a\n" + header + between
    return start + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _png_with(between: bytes) -> bytes:
    return png_of(_png_header(4, 4), bytes(4 * 13), between)


def jpeg_with(jpeg: bytes, marker: int, content: bytes, times: int = 1) -> bytes:
    segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    return jpeg[:2] + segment * times + jpeg[2:]


def tiff_with(entries: list[tuple[int, int, int, bytes]], length: int = 0) -> bytes:
    """Return a TIFF header with a directory of (tag, type, count, four bytes of value or offset)."""
    directory = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4)
    return tiff.ljust(length, b"\0")


def tag_value(value: object) -> tuple[int, int, bytes]:
    if isinstance(value, int):
        return 3, 1, struct.pack("<HH", value, 0)
    if isinstance(value, float):
        return 11, 1, struct.pack("<f", value)
    if isinstance(value, str | bytes):
        return 2, 4, value.encode()[:4] if isinstance(value, str) else value
    return 3, 3, struct.pack("<I", 0)


def _overlapping_tags(length: int, tags: int, share: float = 0.9) -> bytes:
    """Return a TIFF directory whose tags all refer to the same bytes of the file."""
    claimed = int(share * (length - 12 * tags - 14))
    start = struct.pack("<I", 12 * tags + 14)
    return tiff_with([(i, 7, claimed, start) for i in range(tags)], length)


def _tiff(width: int, height: int, strips: int, *, compression: int = 1, length: int = 0) -> bytes:
    """Return a grey TIFF of many strips, all at the same offset."""
    entries = [
        (256, 4, 1, struct.pack("<I", width)),
        (257, 4, 1, struct.pack("<I", height)),
        (258, 3, 1, struct.pack("<I", 8)),
        (259, 3, 1, struct.pack("<I", compression)),
        (262, 3, 1, struct.pack("<I", 1)),
        (273, 4, strips, struct.pack("<I", 200)),
        (278, 4, 1, struct.pack("<I", 1)),
        (279, 4, strips, struct.pack("<I", 200)),
    ]
    return tiff_with(entries, length)


def _scans(times: int) -> bytes:
    jpeg = encoded(Image.new("RGB", (5000, 4000)), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda\x00")
    return jpeg[:last] + jpeg[last:-2] * times + jpeg[-2:]


def _resized(data: bytes, old: tuple[int, int], new: tuple[int, int], form: str) -> bytes:
    return data.replace(struct.pack(form, *old), struct.pack(form, *new))


def _jpeg() -> bytes:
    return encoded(draw_picture(), "JPEG")


def _mpf(content: bytes) -> bytes:
    return jpeg_with(_jpeg(), 0xE2, b"MPF\0" + content)


def _vp8x(side: int) -> bytes:
    data = bytearray(
        encoded(
            draw_picture(), "WEBP", save_all=True, append_images=[draw_picture()], lossless=True
        )
    )
    data[24:30] = struct.pack("<I", side - 1)[:3] * 2
    return bytes(data)


PHOTO_ATTACKS: dict[str, Callable[[], bytes]] = {
    "PNG of 900 megapixels": lambda: _png(30_000, 30_000, 0, 1),
    "PNG of 170 megapixels": lambda: _png(13_000, 13_000, 0, 1),
    "PNG of 50 megapixels, RGBA": lambda: _png(7_000, 7_100, 6),
    "PNG of 50 megapixels, 16 bit RGBA": lambda: _png(7_000, 7_100, 6, 16),
    "PNG of 60,000 x 1": lambda: _png(60_000, 1),
    "PNG of 1 x 60,000": lambda: _png(1, 60_000),
    "PNG of 1 x 49,000,000": lambda: _png(1, 49_000_000, 0, 1),
    "PNG of 49,000,000 x 1": lambda: _png(49_000_000, 1, 2),
    "PNG of 4 gigapixels, no pixels": lambda: png_of(_png_header(65_535, 65_535), b""),
    "PNG of 7 million empty chunks": lambda: _png_with(chunk(b"abCd", b"") * (LARGE // 12)),
    "PNG of 7 million empty texts": lambda: _png_with(chunk(b"tEXt", b"") * (LARGE // 12)),
    "PNG with an iCCP bomb": lambda: _png_with(
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(500_000_000)))
    ),
    "PNG with zTXt bombs": lambda: _png_with(
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 999
    ),
    "PNG with an iTXt of 90 MB": lambda: _png_with(
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"tiff:Orientation=" * (LARGE // 17))
    ),
    "PNG with overlapping EXIF": lambda: _png_with(
        chunk(b"eXIf", _overlapping_tags(LARGE, 65_000))
    ),
    "PNG with overlapping EXIF as text": lambda: _png_with(
        chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(b"\n\nexif\n" + _overlapping_tags(400_000, 20_000).hex().encode()),
        )
    ),
    "JPEG with overlapping EXIF": lambda: jpeg_with(
        _jpeg(), 0xE1, b"Exif\0\0" + _overlapping_tags(65_000, 5_000)
    ),
    "JPEG with overlapping EXIF in 1,000 parts": lambda: jpeg_with(
        jpeg_with(_jpeg(), 0xE1, b"Exif\0\0" + bytes(65_000), 1_000),
        *(0xE1, b"Exif\0\0" + _overlapping_tags(65_000, 5_000, 100)),
    ),
    "JPEG with an overlapping index of pictures": lambda: _mpf(_overlapping_tags(65_000, 5_000)),
    "JPEG of 90 MB of Photoshop resources": lambda: jpeg_with(
        _jpeg(), 0xED, b"Photoshop 3.0\0" + b"8BIM\0\0\0\0\0\0\0\0" * 5_400, LARGE // 64_814
    ),
    "JPEG of 22 million empty comments": lambda: jpeg_with(_jpeg(), 0xFE, b"", LARGE // 4),
    "JPEG of 90 MB of fill bytes": lambda: b"\xff\xd8" + b"\xff" * LARGE + _jpeg()[2:],
    "JPEG of 90 MB between segments": lambda: b"\xff\xd8\xff\xfe\0\2" + bytes(LARGE) + _jpeg()[2:],
    "JPEG of 45 million restart markers": lambda: b"\xff\xd8" + b"\xff\xd0" * (LARGE // 2),
    "JPEG of 99 scans": lambda: _scans(80),
    "JPEG of 40 scans": lambda: _scans(30),
    "JPEG in arithmetic code": lambda: _jpeg().replace(b"\xff\xc0", b"\xff\xc9"),
    "JPEG of 65,500 x 65,500 with 3 kB": lambda: _resized(
        _jpeg(), (72, 96), (65_500, 65_500), ">HH"
    ),
    "JPEG of 178 megapixels with 3 kB": lambda: _resized(_jpeg(), (72, 96), (2_700, 65_500), ">HH"),
    "JPEG of 178 megapixels": lambda: encoded(Image.new("RGB", (13_300, 13_300)), "JPEG"),
    "JPEG of 65,000 x 2,700": lambda: encoded(Image.new("RGB", (65_000, 2_700)), "JPEG"),
    "JPEG of 65,000 x 700": lambda: encoded(Image.new("RGB", (65_000, 700)), "JPEG"),
    "JPEG of 49 megapixels, progressive CMYK": lambda: encoded(
        Image.new("CMYK", (7_000, 7_000)), "JPEG", progressive=True
    ),
    "TIFF with overlapping tags": lambda: _overlapping_tags(LARGE, 60_000),
    "TIFF of 11 million strips": lambda: _tiff(100, 100, 11_000_000, length=LARGE),
    "TIFF of 500,000 strips": lambda: _tiff(100, 100, 500_000, length=5_000_000),
    "TIFF of 1 x 30,000,000": lambda: _tiff(1, 30_000_000, 1, length=31_000_000),
    "TIFF in LZMA": lambda: encoded(Image.new("RGB", (5_000, 5_000)), "TIFF", compression="lzma"),
    "TIFF of 36 megapixels, CMYK": lambda: encoded(
        Image.new("CMYK", (6_000, 5_900)), "TIFF", compression="tiff_adobe_deflate"
    ),
    "TIFF of 36 megapixels, floats": lambda: encoded(
        Image.new("F", (6_000, 5_900)), "TIFF", compression="tiff_adobe_deflate"
    ),
    "BMP of a run that skips 45 GB": lambda: run_length_bmp(
        170_000_000, 1, b"\0\2\0\xff" + b"\0\1"
    ),
    "BMP of 90 MB of runs": lambda: run_length_bmp(9_000, 9_000, b"\1\1" * (LARGE // 2)),
    "BMP of endless lines": lambda: run_length_bmp(49_000_000, 1, b"\1\1\0\0"),
    "PPM in words": lambda: b"P3 3000 3000 255 " + b"9 " * (LARGE // 2),
    "PPM of 16 bits": lambda: b"P6 3000 3000 65535 " + bytes(54_000_000),
    "PPM of 1,000 levels": lambda: b"P6 4000 4000 999 " + bytes(LARGE),
    "GIF of 65,535 x 65,535": lambda: _resized(
        encoded(draw_picture().quantize(16), "GIF"), (96, 72), (65_535, 65_535), "<HH"
    ),
    "GIF of 49 megapixels": lambda: encoded(Image.new("P", (7_000, 7_000)), "GIF"),
    "GIF of 90 MB of comments": lambda: (
        b"GIF89a\x01\0\x01\0\0\0\0" + (b"!\xfe" + b"\x01a" * 50 + b"\0") * (LARGE // 103)
    ),
    "GIF with a comment of 90 MB": lambda: (
        b"GIF89a\x01\0\x01\0\0\0\0!\xfe" + (b"\xff" + b"a" * 255) * (LARGE // 256)
    ),
    "WebP whose canvas is 16,000 x 11,000": lambda: _vp8x(11_000),
    "WebP whose canvas is 16 million wide": lambda: _vp8x(1 << 24),
    "WebP of 25 megapixels, RGBA": lambda: encoded(
        Image.new("RGBA", (5_000, 4_990), (9, 9, 9, 9)), "WEBP", lossless=True, method=0
    ),
    "AVIF of 25 megapixels": lambda: encoded(
        Image.new("RGBA", (5_000, 4_990), (9, 9, 9, 9)), "AVIF", speed=10
    ),
    "HEIC of 49 megapixels": lambda: encoded(Image.new("RGB", (7_000, 7_000)), "HEIF"),
    "HEIC of 36 megapixels, RGBA": lambda: encoded(
        Image.new("RGBA", (6_000, 6_000), (9, 9, 9, 9)), "HEIF"
    ),
}

NON_IMAGES = {
    "nothing": b"",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><image href='/etc/passwd'/></svg>",
    "HTML": b"<!doctype html><script>alert(1)</script>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
    "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
    "XML of a billion laughs": b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><l>&b;</l>',
    "a pickle": b"\x80\x04\x95\x1c\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "zeros": bytes(LARGE),
    "an empty zip": b"PK\5\6" + bytes(18),
    "ftyp and nothing": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
    "ftyp and zeros": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(1_000_000),
    "ftyp avif and zeros": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + bytes(1_000_000),
}


def make_zip(members: dict[object, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo("n")
            if isinstance(name, str):
                info.filename = name  # unchanged: the constructor would normalise it
            archive.writestr(info, content, compression)
    return buffer.getvalue()


def _overlapping(photo: bytes, times: int) -> bytes:
    """Return a zip with many names of the same bytes (Fifield 2019)."""
    one = make_zip({"a.jpg": photo})
    start = struct.unpack_from("<I", one, len(one) - 6)[0]
    entry = one[start:-22]
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, times, times, len(entry) * times, start, 0)
    return one[:start] + entry * times + end
