"""Decoding of untrusted photos: the only module that opens them."""

import struct
import threading
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from flower_model.errors import ImageError
from flower_model.photos.headers import (
    MAX_SCANS,
    START_OF_SCAN,
    MeteredFile,
    check_header,
    check_tags,
)
from flower_model.photos.rgb import to_rgb
from flower_model.photos.sources import (
    MAX_BYTES,
    PhotoSource,
    describe_text,
    has_photo_shape,
    read_source,
)

MAX_PIXELS = 178_000_000  # just below the size that Pillow calls a decompression bomb

# Pixel limits by the cost of each format's decoder: at most about 500 MB of memory and two seconds
# on one core of a 2023 CPU. JPEGs are measured after their reduction, see `open_image`.
MAX_DECODED = {"WEBP": 25_000_000, "AVIF": 25_000_000, "TIFF": 36_000_000}
MAX_DECODED_DEFAULT = 50_000_000  # the largest HEIC that phones take
MAX_SIDE = 100_000  # pixels; rows of a single pixel take twenty times their size in memory
MAX_SCANNED = 1_000_000_000  # pixels times scans of a progressive JPEG; each scan visits all pixels

# Detected from a file's content, never from its name, in this order: formats whose plugins Pillow
# always imports come first. Pillow has more, but untrusted files must not reach all of them: EPS
# runs Ghostscript, and JPEG 2000, which no camera writes, can take minutes to decode.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "AVIF", "TIFF", "HEIF")
SLOW_TIFF_CODECS = ("lzma", "webp", "tiff_sgilog", "tiff_sgilog24")  # no camera writes them

# EXIF orientation -> the transposition that turns the picture upright.
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

DAMAGED_FILE = "is damaged or truncated: copy or download it again."
DAMAGED_PICTURE = "can't be decoded: its file is closed, damaged or truncated. Open it again."

# Pillow decodes lazily, and not thread-safely: two threads may be given the same picture.
DECODE_LOCK = threading.Lock()

# Pillow's warnings about odd metadata mean nothing to users. Not catch_warnings: not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_image(source: PhotoSource, *, short_side: int | None = None) -> Image.Image:
    """Open a photo as an upright RGB picture.

    Args:
        source: A path, the bytes of an image file, a binary file object, a PIL image, or a uint8
            array of shape (height, width), (height, width, 3) or (height, width, 4). Transparent
            pixels are blended with white, EXIF orientation is applied, and the first frame of an
            animation is used.
        short_side: Length in pixels to which the caller will resize the short side. A larger photo
            may be returned at a reduced size, but never smaller than this: JPEGs are decoded at
            1/2, 1/4 or 1/8 scale, which is many times faster for photos from phones.

    Returns:
        A PIL image in mode "RGB".

    Raises:
        ImageError: If the source is missing, empty, truncated, too large or not an image.

    Example:
        >>> open_image("phone.jpg").size, open_image("phone.jpg", short_side=236).size
        ((4000, 3000), (500, 375))
    """
    if isinstance(source, Image.Image):
        with DECODE_LOCK:
            return _decode(source, "The picture", short_side, damage=DAMAGED_PICTURE)
    if isinstance(source, np.ndarray):
        return _decode(_from_array(source), "The array", short_side)
    data, name = read_source(source)
    return _decode(_open_lazily(data, name, short_side), name, short_side)


def _open_lazily(data: bytes, name: str, short_side: int | None) -> Image.Image:
    """Check the header and open the file; its pixels are not decoded yet."""
    if not data:
        raise ImageError(f"{name} is empty: copy or download it again.")
    if len(data) > MAX_BYTES:
        raise _too_large(name, f"{MAX_BYTES // 1_000_000} megabytes")
    if data[4:8] == b"ftyp":  # the container of both HEIC and AVIF
        from pillow_heif import register_heif_opener  # takes 15 ms, and no other format needs it

        register_heif_opener()
    try:
        check_header(data)
        picture = Image.open(MeteredFile(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(name, f"{MAX_PIXELS // 1_000_000} megapixels") from None
    except Exception:  # noqa: BLE001  # Pillow's parsers raise all kinds of errors on damaged headers
        advice = "is not a supported image: use a JPEG, PNG, WebP, AVIF or HEIC file."
        raise ImageError(f"{name} {describe_text(data) or advice}") from None
    # Pillow decodes rare kinds of BMP and PPM in pure Python, which takes seconds per megapixel.
    slow = any(tile.codec_name in Image.DECODERS for tile in picture.tile)
    if slow or (picture.format == "TIFF" and picture.info.get("compression") in SLOW_TIFF_CODECS):
        raise ImageError(f"{name} has a rare encoding: save it as a JPEG or PNG file.")
    if picture.format in ("JPEG", "MPO"):
        _check_scans(data, picture, name)
        if short_side is not None:
            picture.draft(None, (short_side, short_side))
    return picture


def _check_scans(data: bytes, picture: Image.Image, name: str) -> None:
    scans, pixels = data.count(START_OF_SCAN), picture.width * picture.height
    if scans > MAX_SCANS or (scans > 1 and scans * pixels > MAX_SCANNED):
        raise ImageError(f"{name} has too many scans ({scans}): export it again.")
    if picture.info.get("progressive") and pixels > MAX_DECODED_DEFAULT:  # decoded at full size
        raise _too_large(name, f"{MAX_DECODED_DEFAULT // 1_000_000} megapixels")


def _decode(
    picture: Image.Image, name: str, short_side: int | None, *, damage: str = DAMAGED_FILE
) -> Image.Image:
    """Check the size of a picture, decode it if necessary, and convert it."""
    width, height = picture.size
    limit = MAX_DECODED.get(picture.format, MAX_DECODED_DEFAULT) if picture.format else MAX_PIXELS
    if width * height > limit:
        raise _too_large(name, f"{limit // 1_000_000} megapixels")
    if max(width, height) > MAX_SIDE:
        raise _too_large(name, f"{MAX_SIDE:,} pixels along a side")
    if min(width, height) < 1:
        raise ImageError(f"{name} has no pixels: use another photo.")
    # Averaging blocks of pixels is much cheaper than a resize's filter. As long as three times the
    # requested resolution remains, the resized result differs by at most 3 grey levels of 256.
    factor = max(min(width, height) // (3 * short_side), 1) if short_side is not None else 1
    xmp = picture.info.pop("xmp", None)  # Pillow would rotate TIFFs by it while loading
    try:
        picture.load()
        transposition = TRANSPOSITIONS.get(_exif_orientation(picture))
        rgb = to_rgb(picture, factor)
        return rgb if transposition is None else rgb.transpose(transposition)
    except Exception:  # noqa: BLE001  # damaged files make decoders raise all kinds of errors
        raise ImageError(f"{name} {damage}") from None
    finally:
        if xmp is not None:  # the picture may belong to the caller
            picture.info["xmp"] = xmp


def _exif_orientation(picture: Image.Image) -> int:
    # picture.getexif() would also read the orientation from XMP and from the PNG text chunks where
    # ImageMagick stores EXIF. TIFFs have been rotated by Pillow while loading.
    tags = picture.info.get("exif") or b""
    check_tags(tags)
    exif = Image.Exif()
    with suppress(SyntaxError, struct.error, LookupError, TypeError, ValueError):  # damaged
        exif.load(tags)
        orientation: int = exif.get(ExifTags.Base.Orientation, 1)
        return orientation
    return 1


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    if array.dtype != np.uint8 or not has_photo_shape(array) or 0 in array.shape:
        raise ImageError(
            "A photo given as an array must be uint8 of shape (height, width, 3), "
            f"not {array.dtype} of shape {array.shape}."
        )
    return Image.fromarray(array)


def _too_large(name: str, limit: str) -> ImageError:
    return ImageError(f"{name} has more than {limit}: resize it first.")
