"""open_image with short_side: photos are decoded at reduced size with nearly the same result."""

import io
import time

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from flower_model.photos.decode import open_image
from tests.photos.test_decode import encoded


@pytest.fixture(scope="module")
def phone_photo() -> bytes:
    """A 12-megapixel JPEG with the noise of a small sensor."""
    picture = Image.fromarray(load_sample_image("flower.jpg")).resize((4000, 3000))
    noise = np.random.default_rng(0).normal(0, 5, (3000, 4000, 1))
    pixels = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", quality=90)


def resized(picture: Image.Image, short_side: int) -> np.ndarray:
    scale = short_side / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC), dtype=int)


@pytest.mark.parametrize("short_side", [200, 236, 375, 376, 750, 1500, 1501, 5000])
def test_large_jpeg_is_decoded_at_the_smallest_sufficient_scale(phone_photo, short_side):
    fractions = [3000 // divisor for divisor in (8, 4, 2, 1)]
    expected = next((side for side in fractions if side >= short_side), 3000)
    assert min(open_image(phone_photo, short_side=short_side).size) == expected


def test_photo_below_twice_the_requested_size_keeps_all_pixels(flower_photo):
    assert open_image(flower_photo, short_side=236) == open_image(flower_photo)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "RGBA"])
def test_reduction_of_other_formats_barely_changes_the_resized_photo(kind, phone_photo):
    picture = open_image(phone_photo).resize((2000, 1500))
    photo = picture.convert("RGBA") if kind == "RGBA" else encoded(picture, kind)
    small = open_image(photo, short_side=236)
    assert 3 * 236 <= min(small.size) < 1500
    difference = np.abs(resized(small, 236) - resized(open_image(photo), 236))
    assert difference.max() <= 6 and difference.mean() <= 0.3


def test_reduced_jpeg_decoding_barely_changes_the_resized_photo(phone_photo):
    small = resized(open_image(phone_photo, short_side=236), 236)
    difference = np.abs(small - resized(open_image(phone_photo), 236))
    assert difference.max() <= 20 and difference.mean() <= 0.6


def test_12_megapixel_jpeg_opens_three_times_faster_than_with_plain_pillow(phone_photo):
    def seconds(function):
        taken = []
        for _ in range(3):
            start = time.thread_time()
            function()
            taken.append(time.thread_time() - start)
        return min(taken)

    plain = seconds(lambda: resized(Image.open(io.BytesIO(phone_photo)).convert("RGB"), 236))
    assert plain >= 3 * seconds(lambda: resized(open_image(phone_photo, short_side=236), 236))


def test_callers_picture_is_not_modified(phone_photo):
    picture = Image.open(io.BytesIO(phone_photo))
    open_image(picture, short_side=236)
    assert picture.size == (4000, 3000)
