"""PhotoTransform: the same pixels as timm's transform, without timm."""

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from flower_model import ModelError
from flower_model.photos.transform import PhotoTransform

RESNET50 = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.95,
    "crop_mode": "center",
}


def ours(picture: Image.Image, **changes) -> np.ndarray:
    return PhotoTransform.from_data_config(RESNET50 | changes).to_pixels(picture)


def timms(picture: Image.Image, **changes) -> np.ndarray:
    transform = create_transform(**(RESNET50 | changes), is_training=False, normalize=False)
    return np.asarray(transform(picture)).transpose(1, 2, 0)


def difference(picture: Image.Image, **changes) -> np.ndarray:
    left, right = ours(picture, **changes), timms(picture, **changes)
    assert left.shape == right.shape and left.dtype == np.uint8
    return np.abs(left.astype(int) - right)


@pytest.fixture(scope="module")
def photo(flower_photo) -> Image.Image:
    return Image.open(flower_photo)


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (500, 500), (2000, 300), (236, 236)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop", [0.875, 0.95, 1.0])
def test_downscaled_photo_matches_timm_within_rounding(photo, size, interpolation, crop):
    found = difference(photo.resize(size), interpolation=interpolation, crop_pct=crop)
    assert found.max() <= 1
    assert (found > 0).mean() <= 0.01


@pytest.mark.parametrize("size", [(224, 224), (235, 235), (100, 75), (30, 400), (1, 1)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_upscaled_photo_matches_timm_exactly(photo, size, interpolation):
    assert difference(photo.resize(size), interpolation=interpolation).max() == 0


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("input_size", [(3, 224, 224), (3, 160, 224)])
@pytest.mark.parametrize("size", [(640, 427), (200, 300), (300, 100)])
def test_other_crop_modes_and_shapes_match_timm_within_rounding(photo, crop_mode, input_size, size):
    found = difference(photo.resize(size), crop_mode=crop_mode, input_size=input_size)
    assert found.max() <= 1
    assert (found > 0).mean() <= 0.01


def test_extreme_aspect_ratio_is_not_resized_whole(photo):
    assert ours(photo.resize((1, 30_000))).shape == (224, 224, 3)  # the whole strip would take 5 GB


def test_unknown_interpolation_is_rejected():
    with pytest.raises(ModelError, match="interpolation 'random'"):
        ours(Image.new("RGB", (9, 9)), interpolation="random")


def test_network_with_one_input_channel_is_rejected():
    with pytest.raises(ModelError, match="1 channels"):
        ours(Image.new("RGB", (9, 9)), input_size=(1, 28, 28))
