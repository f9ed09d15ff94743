"""open_image: inputs that are not readable photos are rejected with an actionable message."""

import numpy as np
import pytest
from PIL import Image

from flower_model import ImageError
from flower_model.photos.decode import MAX_BYTES, open_image
from flower_model.photos.headers import MAX_SCANS, START_OF_SCAN
from tests.photos.test_decode import encoded, red_beside_green


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 6, 3), dtype=np.float32),
        np.zeros((4, 6, 2), dtype=np.uint8),
        np.zeros((0, 6, 3), dtype=np.uint8),
        np.zeros(6, dtype=np.uint8),
    ],
    ids=["floats", "two channels", "no rows", "one axis"],
)
def test_arrays_of_other_types_and_shapes_are_rejected(array):
    with pytest.raises(ImageError, match="must be uint8 of shape"):
        open_image(array)


def test_empty_file_is_reported_as_empty(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(ImageError, match="is empty"):
        open_image(empty)


def test_text_file_is_rejected(tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not a photo")
    with pytest.raises(ImageError, match="not a supported image"):
        open_image(text)


def test_missing_file_is_reported_as_missing(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        open_image(tmp_path / "nowhere.jpg")


def test_folder_is_rejected(tmp_path):
    with pytest.raises(ImageError, match="is a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize("short_side", [None, 100])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_jpeg_is_rejected(flower_photo, share, short_side):
    jpeg = flower_photo.read_bytes()
    with pytest.raises(ImageError, match="truncated|not a supported image"):
        open_image(jpeg[: int(len(jpeg) * share)], short_side=short_side)


def test_damaged_png_is_rejected(flower_photo):
    png = bytearray(encoded(Image.open(flower_photo)))
    png[len(png) // 2 : len(png) // 2 + 2000] = bytes(2000)
    with pytest.raises(ImageError, match="damaged or truncated"):
        open_image(bytes(png))


@pytest.mark.slow
def test_decompression_bomb_is_rejected_before_decoding():
    bomb = encoded(Image.new("1", (30_000, 30_000)))  # 900 megapixels in some 100 kB
    with pytest.raises(ImageError, match="megapixels"):
        open_image(bomb)


def test_jpeg_with_too_many_scans_is_rejected_before_decoding(flower_photo):
    jpeg = encoded(Image.open(flower_photo), "JPEG", progressive=True)
    last = jpeg.rindex(START_OF_SCAN)
    with pytest.raises(ImageError, match="scans"):
        open_image(jpeg[:last] + jpeg[last:-2] * MAX_SCANS + jpeg[-2:])


def test_oversized_file_is_rejected(tmp_path):
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no space
    with pytest.raises(ImageError, match="megabytes"):
        open_image(huge)


def test_eps_is_rejected_without_running_ghostscript():
    with pytest.raises(ImageError, match="not a supported image"):
        open_image(encoded(red_beside_green(), "EPS"))


def test_other_types_are_rejected_by_name():
    with pytest.raises(ImageError, match="not int"):
        open_image(3)


def test_every_message_is_a_single_line(tmp_path):
    for bad in (b"", b"text", tmp_path, tmp_path / "nowhere", np.zeros(3)):
        with pytest.raises(ImageError) as caught:
            open_image(bad)
        assert len(str(caught.value).splitlines()) == 1
