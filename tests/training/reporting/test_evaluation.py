"""Evaluation on several sources: one table, with bootstrap confidence intervals."""

from pathlib import Path

import numpy as np
import pytest

from flower_model.errors import DataError
from tests.support.drawn import draw_photo
from training.data.folders import Photo
from training.reporting.evaluation import (
    bootstrap_intervals,
    evaluate,
    format_table,
    source_groups,
)


def logits_of(hits: np.ndarray, probability: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Logits (photos, 2) that give class 1 this probability, and targets that `hits` are right."""
    logits = np.zeros((len(hits), 2))
    logits[:, 1] = np.log(probability / (1 - probability))
    return logits, hits.astype(int)


def each(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def photos_named(*names: str, label: str = "rose") -> list[Photo]:
    return [Photo(Path(name), label) for name in names]


def test_interval_of_accuracy_covers_the_true_accuracy_about_95_times_in_100():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        low, high = bootstrap_intervals(*logits_of(rng.random(200) < 0.7), each(200))["top1"]
        covered += low <= 0.7 <= high
    assert 88 <= covered <= 99


def test_interval_narrows_with_more_photos():
    hits = np.arange(1000) % 5 > 0
    widths = []
    for count in (50, 1000):
        low, high = bootstrap_intervals(*logits_of(hits[:count]), each(count))["top1"]
        assert low < 0.8 < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_interval_is_wider_when_the_photos_of_a_source_fail_together():
    hits = np.repeat([True, False, True, True, False, True, True, True], 25)
    groups = [str(number) for number in np.repeat(range(8), 25)]
    by_photo = bootstrap_intervals(*logits_of(hits), each(200))["top1"]
    by_group = bootstrap_intervals(*logits_of(hits), groups)["top1"]
    assert by_group[1] - by_group[0] > 2 * (by_photo[1] - by_photo[0])


def test_interval_of_the_calibration_error_contains_its_estimate():
    hits = np.random.default_rng(0).random(300) < 0.75  # at a confidence of 0.9
    low, high = bootstrap_intervals(*logits_of(hits), each(300))["calibration_error"]
    assert low < abs(hits.mean() - 0.9) < high < low + 0.15


def test_a_single_photo_has_the_widest_interval():
    intervals = bootstrap_intervals(*logits_of(np.array([True])), ["0"])
    assert set(intervals.values()) == {(0.0, 1.0)}


def test_photos_are_grouped_by_the_source_in_their_file_names():
    photos = photos_named(
        "inaturalist-01.jpg", "inaturalist-02.jpg", "Commons_1.jpg", "commons_2.jpg"
    )
    assert source_groups(photos) == ["inaturalist"] * 2 + ["commons"] * 2


@pytest.mark.parametrize(
    "names",
    [
        ["image_00001.jpg", "image_00002.jpg", "image_00003.jpg"],  # Oxford: one prefix for all
        ["10559679065_50d2b1.jpg", "10770585085_4742b9.jpg"],  # Flickr: a number per photo
        ["a1f_1.jpg", "b2e_1.jpg", "c3d_1.jpg"],  # a prefix per photo
        ["commons_1.jpg", "commons_2.jpg", "web_1.jpg", "web_2.jpg", "photo.jpg"],
    ],
)
def test_photos_without_a_source_in_their_names_stand_alone(names):
    assert source_groups(photos_named(*names)) == each(len(names))


def test_file_names_that_begin_with_the_class_name_no_source():
    photos = photos_named("rose_1.jpg", "rose_2.jpg")
    photos += photos_named("tulip_1.jpg", "tulip_2.jpg", label="tulip")
    assert source_groups(photos) == each(4)


def draw_source(folder: Path, labels: list[str], each: int, prefix: str) -> Path:
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for photo in range(each):
            picture = draw_photo("crimson", 100 * number + photo)
            picture.save(folder / label / f"{prefix}{photo % 2}-{photo}.png")
    return folder


def test_every_source_gets_a_row_of_the_table(tiny_model, tmp_path):
    draw_source(tmp_path / "garden", ["rose", "tulip"], 6, "camera")
    draw_source(tmp_path / "phone", ["daisy", "rose", "tulip"], 2, "")
    rows = [evaluate(tiny_model, source, tmp_path) for source in ("garden", "phone")]
    assert [(row["source"], row["photos"], row["classes"]) for row in rows] == [
        ("garden", 12, 2),
        ("phone", 6, 3),
    ]
    assert [row["resampled"] for row in rows] == ["2 groups", "6 photos"]
    for row in rows:
        intervals = row["intervals"]
        assert intervals.keys() == {"top1", "top5", "calibration_error"}
        assert all(0 <= low <= high <= 1 for low, high in intervals.values())
        for name in ("top1", "top5"):  # resampled, the calibration error is larger
            assert intervals[name][0] <= row[name] <= intervals[name][1]
    table = format_table(rows).splitlines()
    assert len({len(line) for line in table[:4]}) == 1  # the columns are aligned
    assert table[2].startswith("| garden | 12") and table[3].startswith("| phone  | 6")
    assert f"{100 * rows[0]['top1']:.2f} (" in table[2]


def test_a_missing_source_is_named(tiny_model, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        evaluate(tiny_model, "nowhere", tmp_path)
