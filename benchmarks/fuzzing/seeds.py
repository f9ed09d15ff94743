"""Valid photos in every supported format, drawn in code, as seeds of the fuzzer."""

import io
import struct
import zlib
from functools import partial

import numpy as np
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin
from pillow_heif import register_heif_opener

register_heif_opener()  # to write HEIC

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'


def draw_picture(width: int = 96, height: int = 72) -> Image.Image:
    """Draw a disc on a noisy meadow."""
    noise = np.random.default_rng(0).integers(40, 120, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    ImageDraw.Draw(picture).ellipse((width // 4, 10, width // 4 * 3, height - 10), "crimson")
    return picture


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    """Return a picture as the content of a file of this Pillow format."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def seeds() -> dict[str, bytes]:
    """Return the seeds by name; the first word of a name is the format."""
    picture = draw_picture()
    grey, palette = picture.convert("L"), picture.quantize(16)
    clear = picture.copy()
    clear.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    floats = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = _exif()
    meta = {"exif": exif, "icc_profile": profile, "xmp": XMP}
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a flower " * 99, zip=True)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    more = {"save_all": True, "append_images": [picture.rotate(90), picture], "duration": 50}

    jpeg, png, gif, webp, tiff, bmp, ppm, avif, heic = (
        partial(encoded, form=form)
        for form in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "HEIF")
    )
    return {
        "JPEG baseline": jpeg(picture),
        "JPEG progressive": jpeg(picture, progressive=True, quality=90),
        "JPEG 4:4:4 with restarts": jpeg(picture, subsampling=0, restart_marker_blocks=4),
        "JPEG grey": jpeg(grey),
        "JPEG CMYK": jpeg(picture.convert("CMYK")),
        "JPEG with EXIF, ICC, XMP": jpeg(picture, comment=b"hello", **meta),
        "JPEG of several": encoded(picture, "MPO", **more),
        "PNG": png(picture),
        "PNG RGBA": png(clear),
        "PNG palette": png(palette, transparency=3),
        "PNG bits": png(picture.convert("1")),
        "PNG 16 bit": png(deep),
        "PNG interlaced": interlaced_png(),
        "PNG with EXIF, ICC, text": png(picture, pnginfo=text, exif=exif, icc_profile=profile),
        "PNG animated": png(clear, **more),
        "GIF": gif(palette),
        "GIF animated": gif(palette, transparency=2, comment=b"hello", **more),
        "WebP": webp(picture),
        "WebP lossless": webp(clear, lossless=True),
        "WebP with EXIF, ICC, XMP": webp(clear, **meta),
        "WebP animated": webp(clear, **more),
        "TIFF": tiff(picture, icc_profile=profile),
        "TIFF LZW": tiff(picture, compression="tiff_lzw"),
        "TIFF deflate, 16 bit": tiff(deep, compression="tiff_adobe_deflate"),
        "TIFF packbits CMYK": tiff(picture.convert("CMYK"), compression="packbits"),
        "TIFF JPEG": tiff(picture, compression="jpeg"),
        "TIFF fax": tiff(picture.convert("1"), compression="group4"),
        "TIFF floats": tiff(floats),
        "TIFF big": tiff(clear, big_tiff=True, compression="zstd"),
        "TIFF of several": tiff(palette, save_all=True, append_images=[picture]),
        "BMP": bmp(picture),
        "BMP palette": bmp(palette),
        "BMP bits": bmp(picture.convert("1")),
        "BMP RGBA": bmp(clear),
        "BMP run-length": run_length_bmp(64, 2, b"\x40\x01\x00\x00" * 2 + b"\x00\x01"),
        "PPM": ppm(picture),
        "PPM grey": ppm(grey),
        "PPM floats": ppm(floats),
        "PPM plain": b"P3 4 2 255 " + b"9 " * 24,
        "AVIF": avif(picture, speed=9),
        "AVIF RGBA with EXIF": avif(clear, speed=9, exif=exif, icc_profile=profile),
        "HEIC": heic(picture),
        "HEIC RGBA with EXIF": heic(clear, exif=exif, icc_profile=profile),
        "HEIC grey": heic(grey),
    }


def interlaced_png(side: int = 16) -> bytes:
    """Return an Adam7-interlaced PNG, which Pillow can read but not write."""
    pixels = np.asarray(draw_picture(side, 32).crop((0, 0, side, side)))
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = b"".join(
        b"\0" + row.tobytes()
        for top, left, down, across in (*passes, (1, 0, 2, 1))
        for row in pixels[top::down, left::across]
    )
    return png_of(chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 1)), rows)


def png_of(header: bytes, rows: bytes, between: bytes = b"") -> bytes:
    """Return a PNG from its header chunk, other chunks, and rows with their filter bytes."""
    pixels = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + header + between + pixels + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    """Return a BMP with 256 grey levels, run-length encoded."""
    colours = b"".join(bytes((i, i, i, 0)) for i in range(256))
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + len(info) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + colours + runs


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769)[0x829A] = 0.01
    return exif.tobytes()
