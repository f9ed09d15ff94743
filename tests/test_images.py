"""images.open_image: whatever a photo is, an upright RGB picture or one sentence."""

import io

import numpy as np
import pytest
from PIL import Image

from flower_model import ImageError
from flower_model.images import open_image

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def colour(picture: Image.Image, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    assert picture.mode == "RGB"
    return picture.getpixel(at)


def red_beside_green() -> Image.Image:
    picture = Image.new("RGB", (40, 20), GREEN)
    picture.paste(RED, (0, 0, 20, 20))
    return picture


def test_a_path_bytes_and_a_picture_give_the_same_pixels(flower_photo):
    from_path = open_image(flower_photo)
    assert from_path.size == (640, 427)
    assert from_path == open_image(str(flower_photo))
    assert from_path == open_image(flower_photo.read_bytes())
    assert from_path == open_image(Image.open(flower_photo))


@pytest.mark.parametrize(
    ("orientation", "red_at"), [(1, (5, 10)), (3, (35, 10)), (6, (10, 5)), (8, (10, 35))]
)
def test_exif_orientation_is_applied(orientation, red_at):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = open_image(encoded(red_beside_green(), exif=exif))
    assert upright.size == ((40, 20) if orientation in (1, 3) else (20, 40))
    assert colour(upright, red_at) == RED


def test_transparency_is_laid_over_white():
    half_red = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert colour(open_image(encoded(half_red))) == pytest.approx((255, 127, 127), abs=1)
    assert colour(open_image(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))) == WHITE


def test_transparent_grey_is_laid_over_white():
    assert colour(open_image(encoded(Image.new("LA", (4, 4), (0, 0))))) == WHITE


def test_a_palette_becomes_its_colours():
    assert colour(open_image(encoded(red_beside_green().quantize(4)))) == pytest.approx(RED, abs=3)


def test_a_transparent_palette_entry_becomes_white():
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 255])
    assert colour(open_image(encoded(picture, transparency=0))) == WHITE


def test_grey_stays_grey():
    assert colour(open_image(encoded(Image.new("L", (4, 4), 77)))) == (77, 77, 77)


def test_black_and_white_in_one_bit_opens():
    assert colour(open_image(encoded(Image.new("1", (4, 4), 1)))) == WHITE


def test_16_bits_are_scaled_to_8():
    values = np.full((4, 4), 65535 // 2, dtype=np.uint16)
    assert colour(open_image(encoded(Image.fromarray(values)))) == (127, 127, 127)


def test_a_cmyk_jpeg_becomes_rgb():
    jpeg = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert colour(open_image(jpeg)) == pytest.approx(RED, abs=4)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (16, 16), c) for c in (RED, GREEN)]
    animation = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert colour(open_image(animation)) == pytest.approx(RED, abs=4)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 4)])
def test_a_uint8_array_is_a_picture(shape):
    picture = open_image(np.full(shape, 255, dtype=np.uint8))
    assert picture.size == (6, 4)
    assert colour(picture) == WHITE


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
def test_any_other_array_is_refused(array):
    with pytest.raises(ImageError, match="must be uint8 of shape"):
        open_image(array)


def test_an_empty_file_is_called_empty(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(ImageError, match="is empty"):
        open_image(empty)


def test_a_text_file_is_no_photo(tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not a photo")
    with pytest.raises(ImageError, match="not a photo that can be opened"):
        open_image(text)


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(ImageError, match="There is no file"):
        open_image(tmp_path / "nowhere.jpg")


def test_a_folder_is_no_photo(tmp_path):
    with pytest.raises(ImageError, match="is a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_jpeg_is_refused(flower_photo, share):
    jpeg = flower_photo.read_bytes()
    with pytest.raises(ImageError, match="cut short|can be opened"):
        open_image(jpeg[: int(len(jpeg) * share)])


def test_a_damaged_png_is_refused(flower_photo):
    png = bytearray(encoded(Image.open(flower_photo)))
    png[len(png) // 2 : len(png) // 2 + 2000] = bytes(2000)
    with pytest.raises(ImageError, match="damaged or cut short"):
        open_image(bytes(png))


def test_a_decompression_bomb_is_refused_unopened():
    bomb = encoded(Image.new("1", (30_000, 30_000)))  # 900 megapixels in some 100 kB
    with pytest.raises(ImageError, match="megapixels"):
        open_image(bomb)


def test_something_else_is_named_by_its_type():
    with pytest.raises(ImageError, match="not int"):
        open_image(3)


def test_no_message_is_longer_than_one_line(tmp_path):
    for bad in (b"", b"text", tmp_path, tmp_path / "nowhere", np.zeros(3)):
        with pytest.raises(ImageError) as caught:
            open_image(bad)
        assert len(str(caught.value).splitlines()) == 1
