"""Predictions for many uploads, and their CSV."""

import csv
import io
import threading
import time
import tracemalloc

import pytest
from PIL import Image

from flower_model.demo.answers.table import UploadResult, classify_uploads, csv_text
from flower_model.demo.identifier import PhotoIdentifier
from flower_model.demo.uploads import Upload, open_uploads
from flower_model.errors import ImageError
from flower_model.prediction import Prediction
from flower_model.results.results_file import ResultsFile
from tests.demo.test_uploads import sent, zipped


def test_every_photo_gets_its_own_answer_or_error(tmp_path, tiny_model, flower_photo):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    broken = tmp_path / "broken.zip"
    broken.write_text("no zip")
    with open_uploads([sent(p) for p in (bad, flower_photo, broken, bad, flower_photo)]) as photos:
        rows = list(classify_uploads(PhotoIdentifier(tiny_model), photos, thumbnails=True))
    assert [row.name for row in rows] == [
        *("bad.jpg", "dahlia.jpg", "broken.zip", "bad.jpg", "dahlia.jpg")
    ]
    assert [isinstance(row.answer, ImageError) for row in rows] == [True, False, True, True, False]
    assert rows[1].answer.label == tiny_model.predict(flower_photo).label
    assert [row.thumbnail is not None for row in rows] == [False, True, False, False, True]


@pytest.mark.slow
def test_only_the_members_being_decoded_are_in_memory(tmp_path, tiny_model):
    slow = io.BytesIO()  # to open, but not to unpack
    Image.new("RGB", (5000, 4000)).save(slow, "JPEG", progressive=True)
    photo = slow.getvalue() + bytes(2_000_000)
    archive = zipped(tmp_path / "a.zip", {f"{number}.jpg": photo for number in range(60)})
    tracemalloc.start()
    with open_uploads([sent(archive)]) as photos:
        rows = list(classify_uploads(PhotoIdentifier(tiny_model), photos))
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not any(isinstance(row.answer, ImageError) for row in rows)
    assert highest < 32 * len(photo)  # eight threads, each with up to four copies


def test_closing_does_not_wait_for_a_photo_that_is_being_read(tiny_model, flower_photo):
    reading, resume = threading.Event(), threading.Event()

    def read_slowly():
        reading.set()
        resume.wait(60)
        return b""

    photo = Upload("a.jpg", flower_photo.read_bytes)
    identify = PhotoIdentifier(tiny_model)
    rows = classify_uploads(identify, [photo] * 32 + [Upload("slow.jpg", read_slowly)] * 40)
    next(rows)
    assert reading.wait(60)
    start = time.monotonic()
    rows.close()
    assert time.monotonic() - start < 5
    resume.set()
    assert identify.batch_slots.acquire(blocking=False)


def csv_of(*rows):
    text = csv_text(rows, "resnet50-0123", top_k=2)
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_contains_every_row_and_quotes_odd_names():
    names = ['a "b", c.jpg', "ünï\nline.jpg", "plain.jpg"]
    rose = Prediction((("rose", 0.9), ("tulip", 0.1)), botanical_name="Rosa")
    read = csv_of(
        *(UploadResult(name, rose) for name in names),
        UploadResult("bad.jpg", ImageError("No photo.")),
    )
    assert [row["photo"] for row in read] == [*names, "bad.jpg"]
    assert read[0]["answer"] == "rose" and read[0]["botanical_name"] == "Rosa"
    assert float(read[0]["probability"]) == 0.9 and read[0]["label_2"] == "tulip"
    assert read[3]["error"] == "No photo." and read[3]["answer"] == ""


def test_csv_has_the_columns_and_values_of_the_commands_results_file(tmp_path):
    rose = Prediction((("rose", 0.9), ("tulip", 0.1)), 0.3, is_flower=False)
    path = tmp_path / "results.csv"
    with ResultsFile(path, model="resnet50-0123", top_k=2) as results:
        results.write("a.jpg", rose)
        results.finish()
    with path.open(newline="", encoding="utf-8") as file:
        assert csv_of(UploadResult("a.jpg", rose)) == list(csv.DictReader(file))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_csv_cell_is_a_spreadsheet_formula(start):
    name = f"{start}HYPERLINK(A1).jpg"
    (row,) = csv_of(UploadResult(name, Prediction(((name, 1.0),), botanical_name=name)))
    assert row["photo"] == row["label"] == row["answer"] == row["botanical_name"] == f"'{name}"
