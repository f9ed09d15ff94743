"""open_image: any kind of photo becomes an upright RGB picture."""

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


def test_path_bytes_and_pil_image_give_the_same_pixels(flower_photo):
    from_path = open_image(flower_photo)
    assert from_path.size == (640, 427)
    assert from_path == open_image(str(flower_photo))
    assert from_path == open_image(flower_photo.read_bytes())
    assert from_path == open_image(Image.open(flower_photo))


# EXIF orientation -> the side on which the stored picture's red left half must end up.
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
    """Asserts that one short side of a 2:1 picture is red and the opposite one green."""
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
def test_exif_orientation_is_applied_to_jpegs_decoded_at_reduced_size(orientation):
    photo = encoded(red_beside_green().resize((800, 400)), "JPEG", exif=exif_of(orientation))
    upright = open_image(photo, short_side=100)
    assert min(upright.size) == 100
    assert_upright(upright, RED_AT[orientation])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif",
    [b"?" * 40, b"MM\0*" + b"\xff" * 8, b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02a\0\0\0"],
    ids=["no EXIF", "invalid offset", "orientation 'a'"],
)
def test_damaged_exif_is_ignored(exif):
    photo = encoded(red_beside_green(), "JPEG", exif=b"Exif\0\0" + exif)
    assert_upright(open_image(photo), "left")


def test_transparency_is_blended_with_white():
    half_red = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert colour(open_image(encoded(half_red))) == pytest.approx((255, 127, 127), abs=1)
    assert colour(open_image(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))) == WHITE


def test_transparent_grayscale_is_blended_with_white():
    assert colour(open_image(encoded(Image.new("LA", (4, 4), (0, 0))))) == WHITE


def test_palette_is_converted_to_rgb():
    assert colour(open_image(encoded(red_beside_green().quantize(4)))) == pytest.approx(RED, abs=3)


def test_transparent_palette_entry_becomes_white():
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 255])
    assert colour(open_image(encoded(picture, transparency=0))) == WHITE


def test_grayscale_keeps_its_value():
    assert colour(open_image(encoded(Image.new("L", (4, 4), 77)))) == (77, 77, 77)


def test_one_bit_image_is_converted():
    assert colour(open_image(encoded(Image.new("1", (4, 4), 1)))) == WHITE


def test_16_bit_values_are_scaled_to_8_bits():
    values = np.full((4, 4), 65535 // 2, dtype=np.uint16)
    assert colour(open_image(encoded(Image.fromarray(values)))) == (127, 127, 127)


def test_dark_16_bit_image_is_not_brightened():
    values = np.full((4, 4), 255, dtype=np.uint16)
    assert colour(open_image(encoded(Image.fromarray(values)))) == (0, 0, 0)


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floats_are_scaled_by_their_range(white):
    values = np.array([[0.2 * white, np.nan, white]], dtype=np.float32)
    picture = open_image(encoded(Image.fromarray(values), "TIFF"))
    assert [colour(picture, (x, 0))[0] for x in range(3)] == [51, 0, 255]


@pytest.mark.parametrize("short_side", [None, 100])
def test_cmyk_is_converted_to_rgb(short_side):
    cmyk = Image.new("CMYK", (400, 400), (0, 255, 255, 0))
    jpeg = encoded(cmyk, "JPEG")  # inverted, as Adobe's are
    assert b"Adobe" in jpeg
    assert colour(open_image(jpeg, short_side=short_side)) == pytest.approx(RED, abs=4)
    assert colour(open_image(encoded(cmyk, "TIFF"))) == pytest.approx(RED, abs=4)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "AVIF", "TIFF", "HEIF"]
)
def test_format_is_detected_by_content(kind, tmp_path):
    misnamed = tmp_path / "photo.txt"
    misnamed.write_bytes(encoded(red_beside_green(), kind))
    assert_upright(open_image(misnamed), "left")


def test_first_picture_of_an_mpo_file_is_used():
    pair = encoded(red_beside_green(), "MPO", save_all=True, append_images=[red_beside_green()])
    assert_upright(open_image(pair, short_side=10), "left")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF", "TIFF", "PNG"])
def test_first_frame_of_an_animation_is_used(kind):
    frames = [Image.new("RGB", (16, 16), c) for c in (RED, GREEN)]
    animation = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert colour(open_image(animation)) == pytest.approx(RED, abs=4)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 4)])
def test_uint8_arrays_are_accepted(shape):
    picture = open_image(np.full(shape, 255, dtype=np.uint8))
    assert picture.size == (6, 4)
    assert colour(picture) == WHITE


def test_reading_allocates_no_more_than_the_file_needs(flower_photo):
    open_image(flower_photo)  # imports
    tracemalloc.start()
    open_image(flower_photo)
    _, highest = tracemalloc.get_traced_memory()  # bytes, without Pillow's own buffers
    tracemalloc.stop()
    assert highest < 3 * flower_photo.stat().st_size + 100_000


def test_photo_can_be_read_from_a_pipe(flower_photo, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as writer:
        writer.submit(pipe.write_bytes, flower_photo.read_bytes())
        assert open_image(pipe) == open_image(flower_photo)


@pytest.mark.slow
def test_heic_decoder_is_imported_for_heic_only(flower_photo):
    program = (
        "import sys; from flower_model.photos.decode import open_image; open_image(sys.argv[1]); "
        "sys.exit('pillow_heif' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, flower_photo], cwd=ROOT, check=True)
