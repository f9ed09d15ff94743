"""The one place where a photo that nobody has checked is opened."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from flower_model.errors import ImageError

MAX_PIXELS = 178_000_000  # just below where Pillow itself calls a picture a decompression bomb

PhotoSource = str | Path | bytes | Image.Image | np.ndarray


def open_image(source: PhotoSource) -> Image.Image:
    """Opens a photo as an upright RGB picture.

    Args:
        source: A path, the bytes of an image file, a PIL image, or a uint8 array of shape
            (height, width), (height, width, 3) or (height, width, 4). Transparency is laid
            over white; of an animation the first frame is taken; EXIF orientation is applied.

    Returns:
        A PIL image in mode "RGB".

    Raises:
        ImageError: If the source is missing, empty, truncated, too large or no image.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the picture")
    if isinstance(source, np.ndarray):
        return _upright_rgb(_from_array(source), "the array")
    if isinstance(source, bytes):
        return _decode(source, "the file")
    if isinstance(source, str | Path):
        return _decode(_read(Path(source)), f"'{source}'")
    raise ImageError(
        f"A photo must be a path, bytes, a PIL image or a uint8 array, not {type(source).__name__}."
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"There is no file '{path}': check the path.") from None
    except IsADirectoryError:
        raise ImageError(f"'{path}' is a folder: name the photos in it.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"'{path}' can't be read ({reason}).") from None


def _decode(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageError(f"{_sentence(name)} is empty: copy or download it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata are not for the user
            picture = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except Exception:  # noqa: BLE001  # Pillow's parsers raise whatever a damaged header makes them raise
        raise ImageError(
            f"{_sentence(name)} is not a photo that can be opened: use a JPEG, PNG or WebP file."
        ) from None
    return _upright_rgb(picture, name)


def _upright_rgb(picture: Image.Image, name: str) -> Image.Image:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise _too_large(name)
    if min(width, height) < 1:
        raise ImageError(f"{_sentence(name)} has no pixels: use another photo.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.load()
            return _rgb(ImageOps.exif_transpose(picture))
    except Exception:  # noqa: BLE001  # a truncated or damaged file fails anywhere in its decoder
        raise ImageError(
            f"{_sentence(name)} is damaged or cut short: copy or download it again."
        ) from None


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture, dtype=np.float32)  # (height, width)
        scale = 255.0 / 65535.0 if values.max(initial=0) > 255 else 1.0
        return Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_ok or 0 in array.shape:
        raise ImageError(
            "A photo given as an array must be uint8 of shape (height, width, 3), "
            f"not {array.dtype} of shape {array.shape}."
        )
    return Image.fromarray(array)


def _too_large(name: str) -> ImageError:
    limit = MAX_PIXELS // 1_000_000
    return ImageError(f"{_sentence(name)} has more than {limit} megapixels: make it smaller first.")


def _sentence(name: str) -> str:
    return name[0].upper() + name[1:]
