"""images.open_image: whatever a photo is, an upright RGB picture."""

import io
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from flower_model.photos.decode import open_image
from tests.support.commands import ROOT

pillow_heif.register_heif_opener()  # to write HEIC files here

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


# Where the red left half of the stored picture belongs, by orientation.
RED_AT = {
    1: "left",
    2: "right",
    3: "right",
    4: "left",
    5: "top",
    6: "top",
    7: "bottom",
    8: "bottom",
}


def assert_upright(picture: Image.Image, red_side: str) -> None:
    """Red on one side, green on the opposite, for a picture twice as long as it is wide."""
    width, height = picture.size
    assert (width > height) == (red_side in ("left", "right"))
    first = colour(picture, (width // 8, height // 8))
    last = colour(picture, (width - 1 - width // 8, height - 1 - height // 8))
    red, green = (first, last) if red_side in ("left", "top") else (last, first)
    assert red == pytest.approx(RED, abs=6) and green == pytest.approx(GREEN, abs=6)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("orientation", RED_AT)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_exif_orientation_is_applied(kind, orientation):
    photo = encoded(red_beside_green(), kind, exif=exif_of(orientation))
    assert_upright(open_image(photo), RED_AT[orientation])


@pytest.mark.parametrize("orientation", RED_AT)
def test_exif_orientation_is_applied_to_a_jpeg_decoded_small(orientation):
    photo = encoded(red_beside_green().resize((800, 400)), "JPEG", exif=exif_of(orientation))
    upright = open_image(photo, short_side=100)
    assert min(upright.size) == 100
    assert_upright(upright, RED_AT[orientation])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif",
    [b"?" * 40, b"MM\0*" + b"\xff" * 8, b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02a\0\0\0"],
    ids=["no EXIF at all", "pointing nowhere", "orientation 'a'"],
)
def test_damaged_exif_does_not_spoil_a_good_photo(exif):
    photo = encoded(red_beside_green(), "JPEG", exif=b"Exif\0\0" + exif)
    assert_upright(open_image(photo), "left")


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


def test_16_bits_that_are_all_dark_stay_dark():
    values = np.full((4, 4), 255, dtype=np.uint16)
    assert colour(open_image(encoded(Image.fromarray(values)))) == (0, 0, 0)


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floats_up_to_one_or_to_255_are_scaled_to_8_bits(white):
    values = np.array([[0.2 * white, np.nan, white]], dtype=np.float32)
    picture = open_image(encoded(Image.fromarray(values), "TIFF"))
    assert [colour(picture, (x, 0))[0] for x in range(3)] == [51, 0, 255]


@pytest.mark.parametrize("short_side", [None, 100])
def test_a_cmyk_jpeg_becomes_rgb(short_side):
    cmyk = Image.new("CMYK", (400, 400), (0, 255, 255, 0))
    jpeg = encoded(cmyk, "JPEG")  # inverted, as Adobe's are
    assert b"Adobe" in jpeg
    assert colour(open_image(jpeg, short_side=short_side)) == pytest.approx(RED, abs=4)
    assert colour(open_image(encoded(cmyk, "TIFF"))) == pytest.approx(RED, abs=4)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "AVIF", "TIFF", "HEIF"]
)
def test_a_photo_opens_whatever_its_name_says(kind, tmp_path):
    misnamed = tmp_path / "photo.txt"
    misnamed.write_bytes(encoded(red_beside_green(), kind))
    assert_upright(open_image(misnamed), "left")


def test_a_jpeg_of_several_pictures_gives_the_first():
    pair = encoded(red_beside_green(), "MPO", save_all=True, append_images=[red_beside_green()])
    assert_upright(open_image(pair, short_side=10), "left")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (16, 16), c) for c in (RED, GREEN)]
    animation = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert colour(open_image(animation)) == pytest.approx(RED, abs=4)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 4)])
def test_a_uint8_array_is_a_picture(shape):
    picture = open_image(np.full(shape, 255, dtype=np.uint8))
    assert picture.size == (6, 4)
    assert colour(picture) == WHITE


def test_opening_a_photo_takes_memory_for_that_photo_only(flower_photo):
    open_image(flower_photo)  # what is imported once
    tracemalloc.start()
    open_image(flower_photo)
    _, highest = tracemalloc.get_traced_memory()  # bytes; Pillow's own are not among them
    tracemalloc.stop()
    assert highest < 3 * flower_photo.stat().st_size + 100_000


def test_a_photo_comes_through_a_pipe(flower_photo, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as writer:
        writer.submit(pipe.write_bytes, flower_photo.read_bytes())
        assert open_image(pipe) == open_image(flower_photo)


def test_the_heic_decoder_is_imported_for_heic_only(flower_photo):
    program = (
        "import sys; from flower_model.photos.decode import open_image; open_image(sys.argv[1]); "
        "sys.exit('pillow_heif' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, flower_photo], cwd=ROOT, check=True)
