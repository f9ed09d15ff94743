"""The one place where a photo that nobody has checked is opened."""

import struct
import threading
import warnings
from contextlib import suppress
from pathlib import Path
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
from flower_model.system.files import read_at_most

MAX_BYTES = 100_000_000  # of a file, which is read whole
MAX_PIXELS = 178_000_000  # just below where Pillow itself calls a picture a decompression bomb

# How many pixels are decoded, by what their decoders cost: at most some 500 MB of memory, and two
# seconds on one core of 2023. Of a JPEG it is its reduced size that counts, see `open_image`.
MAX_DECODED = {"WEBP": 25_000_000, "AVIF": 25_000_000, "TIFF": 36_000_000}
MAX_DECODED_ELSE = 50_000_000  # a phone's largest HEIC
MAX_SIDE = 100_000  # pixels; a row of a single pixel takes twenty times its memory
MAX_SCANNED = 1_000_000_000  # pixels of a progressive JPEG times its scans, each a pass over them

# Tried in this order on what a file holds, never on its name; what Pillow imports at once comes
# first. It knows more, but a stranger's file should not reach all of them: EPS is run by
# Ghostscript, and JPEG 2000 takes minutes for what no camera writes.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "AVIF", "TIFF", "HEIF")
SLOW = ("lzma", "webp", "tiff_sgilog", "tiff_sgilog24")  # in a TIFF, where no camera puts them

# EXIF orientation -> what turns the picture upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

PhotoSource = str | Path | bytes | Image.Image | np.ndarray

# Pillow decodes when first asked for pixels; two threads that hold the same picture must not both.
PICTURE = threading.Lock()

# Pillow's remarks on odd metadata are not for the user; catch_warnings is not made for threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_image(source: PhotoSource, *, short_side: int | None = None) -> Image.Image:
    """Opens a photo as an upright RGB picture.

    Args:
        source: A path, the bytes of an image file, a PIL image, or a uint8 array of shape
            (height, width), (height, width, 3) or (height, width, 4). Transparency is laid
            over white; of an animation the first frame is taken; EXIF orientation is applied.
        short_side: What the caller will resize the short side to, in pixels. A larger photo may
            then come out smaller than it is, but not below this: a JPEG is decoded at half, a
            quarter or an eighth of its size, which is many times faster for a phone's photo.

    Returns:
        A PIL image in mode "RGB".

    Raises:
        ImageError: If the source is missing, empty, truncated, too large or no image.

    Example:
        >>> open_image("phone.jpg").size, open_image("phone.jpg", short_side=236).size
        ((4000, 3000), (500, 375))
    """
    if isinstance(source, Image.Image):
        with PICTURE:
            return _load(source, "the picture", short_side)
    if isinstance(source, np.ndarray):
        return _load(_from_array(source), "the array", short_side)
    if isinstance(source, bytes):
        return _load(_identify(source, "the file", short_side), "the file", short_side)
    if isinstance(source, str | Path):
        name = f"'{source}'"
        return _load(_identify(_read(Path(source)), name, short_side), name, short_side)
    raise ImageError(
        f"A photo must be a path, bytes, a PIL image or a uint8 array, not {type(source).__name__}."
    )


def _read(path: Path) -> bytes:
    try:
        return read_at_most(path, MAX_BYTES)
    except FileNotFoundError:
        raise ImageError(f"There is no file '{path}': check the path.") from None
    except IsADirectoryError:
        raise ImageError(f"'{path}' is a folder: name the photos in it.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"'{path}' can't be read ({reason}).") from None


def _identify(data: bytes, name: str, short_side: int | None) -> Image.Image:
    """The picture as its header describes it, nothing decoded yet."""
    if not data:
        raise ImageError(f"{_sentence(name)} is empty: copy or download it again.")
    if len(data) > MAX_BYTES:
        raise _too_large(name, f"{MAX_BYTES // 1_000_000} megabytes")
    if data[4:8] == b"ftyp":  # the container of both HEIC and AVIF
        from pillow_heif import register_heif_opener  # some 15 ms, which no other photo needs

        register_heif_opener()
    try:
        check_header(data)
        picture = Image.open(MeteredFile(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(name, f"{MAX_PIXELS // 1_000_000} megapixels") from None
    except Exception:  # noqa: BLE001  # Pillow's parsers raise whatever a damaged header makes them raise
        raise ImageError(
            f"{_sentence(name)} is not a photo that can be opened: "
            "use a JPEG, PNG, WebP, AVIF or HEIC file."
        ) from None
    # Decoders that Pillow has in Python only, for rare kinds of BMP and PPM, take seconds a megapixel.
    slow = any(tile.codec_name in Image.DECODERS for tile in picture.tile)
    if slow or (picture.format == "TIFF" and picture.info.get("compression") in SLOW):
        raise ImageError(f"{_sentence(name)} is of a rare kind: save it as a JPEG or PNG file.")
    if picture.format in ("JPEG", "MPO"):
        _check_scans(data, picture, name)
        if short_side is not None:
            picture.draft(None, (short_side, short_side))
    return picture


def _check_scans(data: bytes, picture: Image.Image, name: str) -> None:
    scans, pixels = data.count(START_OF_SCAN), picture.width * picture.height
    if scans > MAX_SCANS or (scans > 1 and scans * pixels > MAX_SCANNED):
        raise ImageError(f"{_sentence(name)} has {scans} scans, which are too many: save it anew.")
    if picture.info.get("progressive") and pixels > MAX_DECODED_ELSE:  # is decoded whole
        raise _too_large(name, f"{MAX_DECODED_ELSE // 1_000_000} megapixels")


def _load(picture: Image.Image, name: str, short_side: int | None) -> Image.Image:
    """Decodes a picture whose size was checked, as far as it isn't decoded yet."""
    width, height = picture.size
    limit = MAX_DECODED.get(picture.format, MAX_DECODED_ELSE) if picture.format else MAX_PIXELS
    if width * height > limit:
        raise _too_large(name, f"{limit // 1_000_000} megapixels")
    if max(width, height) > MAX_SIDE:
        raise _too_large(name, f"{MAX_SIDE:,} pixels along a side")
    if min(width, height) < 1:
        raise ImageError(f"{_sentence(name)} has no pixels: use another photo.")
    # The mean of whole blocks of pixels costs little where a resize's filter costs much; with
    # three times the asked-for pixels left the result is the same to three grey levels of 256.
    factor = max(min(width, height) // (3 * short_side), 1) if short_side is not None else 1
    xmp = picture.info.pop("xmp", None)  # by which Pillow would turn a TIFF that it loads
    try:
        picture.load()
        turn = UPRIGHT.get(_orientation(picture))
        return to_rgb(picture, factor) if turn is None else to_rgb(picture, factor).transpose(turn)
    except Exception:  # noqa: BLE001  # a truncated or damaged file fails anywhere in its decoder
        raise ImageError(
            f"{_sentence(name)} is damaged or cut short: copy or download it again."
        ) from None
    finally:
        if xmp is not None:  # the picture may be the caller's
            picture.info["xmp"] = xmp


def _orientation(picture: Image.Image) -> int:
    # Not by picture.getexif(), which also looks into XMP and, where ImageMagick puts EXIF, into a
    # PNG's text. A TIFF was turned when it was loaded.
    tags = picture.info.get("exif") or b""
    check_tags(tags)
    exif = Image.Exif()
    with suppress(SyntaxError, struct.error, LookupError, TypeError, ValueError):  # damaged
        exif.load(tags)
        return exif.get(ExifTags.Base.Orientation, 1)
    return 1


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_ok or 0 in array.shape:
        raise ImageError(
            "A photo given as an array must be uint8 of shape (height, width, 3), "
            f"not {array.dtype} of shape {array.shape}."
        )
    return Image.fromarray(array)


def _too_large(name: str, limit: str) -> ImageError:
    return ImageError(f"{_sentence(name)} has more than {limit}: make it smaller first.")


def _sentence(name: str) -> str:
    return name[0].upper() + name[1:]
