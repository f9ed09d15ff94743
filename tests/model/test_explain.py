"""The activation map as a picture: light where the evidence is, readable in any colour vision."""

import numpy as np
import pytest

from flower_model.explain import heat
from flower_model.photos.decode import open_image


def brightness(picture):
    """Of an RGBA picture over black, (height, width) in [0, 255]."""
    rgba = np.asarray(picture).astype(float)
    return rgba[..., :3] @ [0.299, 0.587, 0.114] * rgba[..., 3] / 255


def test_the_lightest_place_is_where_the_evidence_is():
    activation = np.zeros((7, 7), np.float32)
    activation[5, 1] = 3.0
    light = brightness(heat(activation, (140, 140)))
    row, column = np.unravel_index(light.argmax(), light.shape)
    assert (row // 20, column // 20) == (5, 1)


def test_more_evidence_is_never_darker():
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None], 4, axis=0)
    light = brightness(heat(ramp, (64, 4)))[0]
    assert (np.diff(light) >= -1).all() and light[-1] > light[0] + 100


@pytest.mark.parametrize("activation", [np.zeros((7, 7)), np.full((7, 7), -2.0)])
def test_without_evidence_nothing_glows(activation):
    assert brightness(heat(activation, (70, 70))).max() < 5


def test_what_speaks_against_a_class_counts_as_nothing():
    activation = np.zeros((7, 7), np.float32)
    activation[0, 0], activation[6, 6] = 1.0, -50.0
    light = brightness(heat(activation, (70, 70)))
    assert light[:10, :10].max() > 100 and light[60:, 60:].max() < 5


def test_it_shows_where_the_network_saw_its_answer(tiny_model, flower_photo):
    pixels = tiny_model.photo_transform.to_pixels(open_image(flower_photo))
    outputs = tiny_model.runtime(pixels[None])
    layer = heat(outputs.maps[0, outputs.logits[0].argmax()], (64, 64))
    assert layer.mode == "RGBA" and layer.size == (64, 64)
