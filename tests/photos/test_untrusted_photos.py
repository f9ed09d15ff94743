"""Damaged and malicious files are opened or rejected in bounded time and memory, without leftovers."""

import io
import json
import random
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.fuzzing import attacks
from benchmarks.fuzzing.mutations import mutate
from benchmarks.fuzzing.run import Opener
from benchmarks.fuzzing.samples import samples
from benchmarks.fuzzing.seeds import encoded, run_length_bmp, seeds
from flower_model import ImageError
from flower_model.photos.decode import MAX_SIDE, open_image
from flower_model.photos.transform import PhotoTransform
from tests.support.commands import ROOT

SEEDS = seeds()
RARE = {"BMP run-length", "PPM plain"}
NO_DEADLINE = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def open_or_reject(data: bytes) -> str:
    """Opens a file the way the page does; any error other than ImageError fails the test."""
    transform = PhotoTransform((224, 224), 0.95, "center", Image.Resampling.BICUBIC, (0, 0, 0))
    try:
        pixels = transform.to_pixels(open_image(data, short_side=transform.short_side))
    except ImageError as error:
        assert len(str(error).splitlines()) == 1
        return str(error)
    assert pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8
    return "opened"


@pytest.mark.parametrize("name", SEEDS)
def test_every_intact_seed_opens_unless_its_encoding_is_rare(name):
    expected = "The file has a rare encoding: save it as a JPEG or PNG file."
    assert open_or_reject(SEEDS[name]) == (expected if name in RARE else "opened")


@pytest.mark.parametrize("name", SEEDS)
def test_every_mutated_seed_opens_or_is_rejected(name):
    rng = random.Random(name)
    for _ in range(10):
        open_or_reject(mutate(SEEDS[name], rng, list(SEEDS.values())))


@settings(max_examples=100, **NO_DEADLINE)
@given(st.sampled_from(sorted(SEEDS)), st.integers(0, 999), st.integers(0, 2**32 - 1))
def test_any_overwritten_number_opens_or_is_rejected(name, at, number):
    data = SEEDS[name]
    at %= len(data)
    open_or_reject(data[:at] + struct.pack(">I", number) + data[at + 4 :])


@settings(max_examples=100, **NO_DEADLINE)
@given(st.sampled_from([data[:16] for data in SEEDS.values()]), st.binary(max_size=300))
def test_random_bytes_after_a_valid_prefix_open_or_are_rejected(start, rest):
    open_or_reject(start + rest)


# Found by fuzzing: each of these used to take gigabytes or minutes.
FOUND = (
    "PNG of 1 x 49,000,000",
    "PNG with an iTXt of 90 MB",
    "PNG with overlapping EXIF",
    "PNG with overlapping EXIF as text",
    "JPEG with overlapping EXIF",
    "JPEG with an overlapping index of pictures",
    "JPEG of 90 MB between segments",
    "TIFF with overlapping tags",
    "TIFF of 11 million strips",
    "BMP of a run that skips 45 GB",
    "BMP of endless lines",
    "PPM of 16 bits",
    "GIF with a comment of 90 MB",
    "PNG of 50 megapixels, RGBA",
    "WebP of 25 megapixels, RGBA",
)


@pytest.fixture(scope="module")
def opener(tmp_path_factory):
    opener = Opener("photo", tmp_path_factory.mktemp("opened"))
    yield opener
    opener.stop()


@pytest.mark.parametrize("name", FOUND)
def test_malicious_file_takes_at_most_two_seconds_and_500_mb(name, opener):
    seen = opener.open(attacks.PHOTO_ATTACKS[name]())
    assert seen["outcome"] in ("opened", "refused")
    assert seen["cpu"] <= 2 and seen["megabytes"] <= 500 and seen["left"] == []


def test_jpeg_2000_is_rejected():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with pytest.raises(ImageError, match="JPEG"):
        open_image(encoded(Image.fromarray(noise), "JPEG2000"))


@pytest.mark.parametrize("name", attacks.NON_IMAGES)
def test_non_images_are_rejected_whatever_their_name(name, tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(attacks.NON_IMAGES[name])
    with pytest.raises(ImageError):
        open_image(photo)


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (60_000, 300)])
@pytest.mark.parametrize("crop_mode", ["center", "border", "squash"])
def test_extreme_aspect_ratios_open(size, crop_mode):
    transform = PhotoTransform((224, 224), 0.95, crop_mode, Image.Resampling.BICUBIC, (0, 0, 0))
    photo = encoded(Image.new("RGB", size, "red"), "PNG")
    pixels = transform.to_pixels(open_image(photo, short_side=transform.short_side))
    assert pixels.shape == (224, 224, 3)


def test_oversized_side_is_rejected():
    photo = encoded(Image.new("1", (MAX_SIDE + 1, 1)), "PNG")
    with pytest.raises(ImageError, match="more than 100,000 pixels along a side"):
        open_image(photo)


@pytest.mark.parametrize("orientation", [0, 9, 65535, "six", (1, 2, 3), 6.5, b"\xff\0\0\0"])
def test_invalid_exif_orientation_is_ignored(orientation):
    tiff = attacks.tiff_with([(0x0112, *attacks.tag_value(orientation))])
    jpeg = encoded(Image.new("RGB", (40, 20)), "JPEG")
    photo = attacks.jpeg_with(jpeg, 0xE1, b"Exif\0\0" + tiff)
    assert open_image(photo).size == (40, 20)


# Not HEIC: software that writes this XMP into HEIC files rotates the pixels as well.
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("exif", [False, True], ids=["without EXIF", "with EXIF"])
def test_xmp_orientation_is_ignored(kind, exif):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options = {"xmp": xmp}
    if exif:
        options["exif"] = Image.Exif()
        options["exif"][ExifTags.Base.Software] = "mine"
    if kind == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    if kind == "TIFF":
        options["tiffinfo"] = {700: options.pop("xmp"), **dict(options.pop("exif", {}))}
    photo = encoded(Image.new("RGB", (40, 20)), kind, **options)
    assert b"tiff:Orientation" in photo
    assert open_image(photo).size == (40, 20)


def test_info_of_the_callers_picture_is_unchanged():
    picture = Image.new("RGB", (4, 4))
    picture.info = {"Raw profile type exif": "abc", "xmp": b"<x/>", "dpi": (72, 72)}
    before = dict(picture.info)
    open_image(picture)
    assert picture.info == before


def test_run_length_bmp_is_rejected_before_decoding():
    with pytest.raises(ImageError, match="rare encoding"):
        open_image(run_length_bmp(170_000_000, 1, b"\0\2\0\xff"))


def test_conversion_in_bands_equals_conversion_of_the_whole():
    noise = np.random.default_rng(0).integers(0, 65536, (2100, 2000), dtype=np.uint16)
    bands, whole = open_image(Image.fromarray(noise)), (noise * (255 / 65535)).astype(np.uint8)
    assert np.array_equal(np.asarray(bands)[:, :, 0], whole)


@pytest.mark.parametrize("kind", ["zip", "results"])
def test_mutated_zips_and_results_files_are_read_or_rejected(kind, tmp_path):
    opener, rng = Opener(kind, tmp_path), random.Random(0)
    whole = samples(kind)
    for name in [*whole] * 10:
        seen = opener.open(mutate(whole[name], rng, list(whole.values())))
        assert seen["outcome"] in ("opened", "refused"), seen
        assert seen["left"] == []
    opener.stop()


def test_malicious_zips_are_read_or_rejected_and_write_nothing(tmp_path):
    opener = Opener("zip", tmp_path)
    for name, data in attacks.zip_attacks():
        seen = opener.open(data)
        assert seen["outcome"] in ("opened", "refused"), (name, seen)
        assert seen["left"] == [] and seen["megabytes"] <= 500, (name, seen)
    opener.stop()


def test_control_characters_in_file_names_are_escaped_on_the_terminal(tmp_path, tiny_folder):
    photo = tmp_path / "\x1b]0;owned\x07.jpg"
    photo.write_bytes(encoded(Image.new("RGB", (9, 9)), "PNG"))
    (tmp_path / "\x1b[2Jbad.jpg").write_bytes(b"x")
    command = [sys.executable, "-m", "flower_model", tmp_path, "--model", tiny_folder]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert b"\x1b" not in ran.stdout + ran.stderr and b"\\x1b]0;owned" in ran.stdout


def test_json_output_keeps_non_ascii_file_names(tmp_path, tiny_folder):
    photo = tmp_path / "ünï.jpg"
    photo.write_bytes(encoded(Image.new("RGB", (9, 9)), "PNG"))
    command = [sys.executable, "-m", "flower_model", photo, "--json", "--model", tiny_folder]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert json.load(io.BytesIO(ran.stdout))[0]["photo"] == str(photo)
