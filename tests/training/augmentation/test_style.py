"""Style augmentation and negatives: every class appears in every style, and negatives have no class."""

import random

import numpy as np
import torch
from PIL import Image

from tests.support.drawn import draw_dataset
from training.augmentation.style import degrade, tile, zoom_out
from training.augmentation.transform import mixup_of, train_transform
from training.data.outliers import calibration_outliers, training_outliers
from training.data.sampling import balanced_order, load_photos
from training.recipe import Data, load_recipe

RED, BLUE = Image.new("RGB", (320, 240), "red"), Image.new("RGB", (500, 500), "blue")


def test_zoom_out_shrinks_the_photo_onto_the_background():
    for seed in range(8):
        random.seed(seed)
        result = np.asarray(zoom_out(RED, BLUE))
        assert result.shape == (240, 320, 3)
        red = (result[..., 0] > 128).mean()
        assert 0.04 < red < 0.6  # 30 to 75 % of either side, as a rectangle or an ellipse
        assert (result[..., 2] > 128).mean() > 0.4


def test_zoom_out_without_a_background_uses_the_blurred_photo():
    random.seed(0)
    checks = np.kron(np.indices((6, 8)).sum(0) % 2, np.ones((40, 40)))[..., None] * [255, 255, 255]
    result = np.asarray(zoom_out(Image.fromarray(checks.astype(np.uint8))), dtype=float)
    assert 0 < result[:40].std() < checks[:40].std()


def test_tile_repeats_the_photo():
    random.seed(1)
    half = Image.new("RGB", (300, 300), "white")
    half.paste("black", (0, 150, 300, 300))
    rows = np.asarray(tile(half).convert("L")).mean(axis=1) > 128
    assert np.count_nonzero(np.diff(rows.astype(int))) >= 3  # white-black at least twice over


def test_degrade_makes_thumbnails_of_at_least_64_pixels():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
    sizes = set()
    for seed in range(20):
        random.seed(seed)
        result = degrade(noise)
        assert result.mode == "RGB"
        sizes.add(min(result.size))
    assert min(sizes) >= 64
    assert len(sizes) > 3


def test_style_augmentation_is_reproducible_from_the_seed_and_off_by_default():
    recipe = load_recipe("flowers5", {"finetune": {"zoom_out": 0.5, "tile": 0.3, "degrade": 0.5}})
    data_config = {"interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    data_config["crop_pct"] = 0.9
    transform = train_transform(recipe.finetune, 64, data_config, lambda: BLUE)
    photo = Image.effect_mandelbrot((320, 240), (-2, -1, 1, 1), 50).convert("RGB")

    def draw(seed):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return transform(photo)

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    settings = load_recipe("flowers5").finetune
    assert settings.zoom_out == settings.tile == settings.degrade == 0


def test_the_target_of_a_negative_is_uniform_over_the_classes():
    for changes in ({"mixup": 0.2, "cutmix": 1.0, "mix_probability": 0.0}, {}):
        settings = load_recipe("flowers5", {"finetune": changes}).finetune
        _, soft = mixup_of(settings, 5)(torch.zeros(2, 3, 8, 8), torch.tensor([1, 5]))
        assert soft.shape == (2, 5)
        assert soft.sum(1).allclose(torch.ones(2))
        assert soft[0].argmax() == 1
        assert soft[0].max() > 0.8
        assert soft[1].allclose(torch.full((5,), 0.2))


def test_half_of_the_negatives_are_trained_on_and_the_other_half_is_kept_for_the_rejection_rule(
    tmp_path,
):
    folder = tmp_path / "others"
    folder.mkdir()
    for number in range(44):
        Image.new("RGB", (40, 40), (number * 5, 0, 0)).save(folder / f"{number}.png")
    data = Data(train=("a",), val=("b",), negatives=("others",))
    (folder / "broken.png").write_text("no photo")  # both sides count it
    recipe = load_recipe("flowers5").model_copy(update={"data": data})
    trained = training_outliers(data, tmp_path, 32).negatives
    kept = calibration_outliers((folder, None), 32, recipe).negatives
    assert len(trained) + len(kept) == 44
    assert not {photo.path for photo in trained.photos} & {photo.path for photo in kept.photos}


def test_sampling_is_balanced_by_class_and_source(tmp_path):
    draw_dataset(tmp_path / "studio", photos_per_class=4)
    draw_dataset(tmp_path / "garden", photos_per_class=16, offset=500)
    data = Data(train=("studio:train", "garden:train"), val=("studio:val",), balance=1.0)
    photos = load_photos(data, tmp_path, 32)
    drawn = balanced_order(photos.train_groups, 1.0, np.random.default_rng(0))
    sources = [photos.train.photos[index].source for index in drawn]
    assert abs(sources.count("studio") - sources.count("garden")) <= 2
