"""Rows of a unit, and the model as workers receive it."""

import pytest

from flower_model.bulk.reading import read_unit
from flower_model.bulk.units import Unit
from flower_model.bulk.worker import MAX_ERRORS, Report, answer_rows, load_model, read_model
from flower_model.results.rows import make_row
from tests.bulk.conftest import write_parquet, write_tar


def rows_of(model, unit):
    return list(answer_rows(model, read_unit(unit, "/"), 2))


def test_photos_in_parquet_rows_are_answered_like_files(tiny_model, flower_photo, tmp_path):
    content = flower_photo.read_bytes()
    path = write_parquet(tmp_path / "a.parquet", {"image": [content, b"no photo", None] * 20})
    rows = rows_of(tiny_model, Unit(file=str(path), column="image", stop=60))
    expected = make_row("", tiny_model.predict(flower_photo, top_k=2))
    assert [row["photo"] for row in rows] == [f"{path}#{number}" for number in range(60)]
    assert {row["label"] for row in rows[::3]} == {expected["label"]}
    assert rows[0]["probability"] == pytest.approx(expected["probability"], abs=1e-4)
    assert {row["error"] for row in rows[1::3]} == {
        "The file is not a supported image: use a JPEG, PNG, WebP, AVIF or HEIC file."
    }
    assert rows[2]["error"] == f"Row 2 of '{path}' has no photo."


def test_photos_in_a_damaged_tar_file_are_answered_up_to_the_damage(
    tiny_model, flower_photo, tmp_path
):
    content = flower_photo.read_bytes()
    path = write_tar(tmp_path / "a.tar", {f"{number}.jpg": content for number in range(3)})
    path.write_bytes(path.read_bytes()[: 2 * len(content)])
    rows = rows_of(tiny_model, Unit(file=str(path)))
    assert rows[0]["photo"] == f"{path}#0.jpg" and rows[0]["label"]
    assert "is damaged" in rows[-1]["error"]


def test_model_is_the_same_after_its_transfer_to_workers(tiny_folder, tiny_model, flower_photo):
    files = read_model(tiny_folder)
    assert set(files) == {"config.json", "model.safetensors"}
    answer = load_model(files).predict(flower_photo)
    assert answer.label == tiny_model.predict(flower_photo).label


def test_report_counts_all_failures_and_lists_some():
    report = Report("part")
    for number in range(30):
        report.count({"error": f"{number}"})
    report.count({"error": None})
    assert (report.photos, report.failures, len(report.errors)) == (31, 30, MAX_ERRORS)
