"""Rendering of class activation maps as heatmaps."""

import numpy as np
import pytest

from flower_model.explain import render_heatmap
from flower_model.photos.decode import open_image


def brightness(picture):
    """Return the luminance (height, width), in [0, 255], of an RGBA image over black."""
    rgba = np.asarray(picture).astype(float)
    return rgba[..., :3] @ [0.299, 0.587, 0.114] * rgba[..., 3] / 255


def test_heatmap_is_lightest_at_the_strongest_evidence():
    activation = np.zeros((7, 7), np.float32)
    activation[5, 1] = 3.0
    light = brightness(render_heatmap(activation, (140, 140)))
    row, column = np.unravel_index(light.argmax(), light.shape)
    assert (row // 20, column // 20) == (5, 1)


def test_lightness_increases_with_the_evidence():
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None], 4, axis=0)
    light = brightness(render_heatmap(ramp, (64, 4)))[0]
    assert (np.diff(light) >= -1).all() and light[-1] > light[0] + 100


@pytest.mark.parametrize("activation", [np.zeros((7, 7)), np.full((7, 7), -2.0)])
def test_heatmap_without_evidence_is_dark(activation):
    assert brightness(render_heatmap(activation, (70, 70))).max() < 5


def test_evidence_against_a_class_is_clipped():
    activation = np.zeros((7, 7), np.float32)
    activation[0, 0], activation[6, 6] = 1.0, -50.0
    light = brightness(render_heatmap(activation, (70, 70)))
    assert light[:10, :10].max() > 100 and light[60:, 60:].max() < 5


def test_heatmap_of_a_runtime_output_has_the_requested_size(tiny_model, flower_photo):
    pixels = tiny_model.photo_transform.to_pixels(open_image(flower_photo))
    outputs = tiny_model.runtime(pixels[None])
    layer = render_heatmap(outputs.maps[0, outputs.logits[0].argmax()], (64, 64))
    assert layer.mode == "RGBA" and layer.size == (64, 64)
