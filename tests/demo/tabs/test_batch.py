"""Tab "Many photos"."""

import csv
import re
import zipfile

import pytest
from playwright.sync_api import expect

from tests.conftest import BOTANICAL
from tests.support.browsing import LAPTOP, PHONE, open_many, send_many


@pytest.fixture
def many(page):
    open_many(page)
    return page


@pytest.fixture
def photos(tmp_path, flower_photo):
    """Two photos, one of them named like a formula, and a file that is not a photo."""
    copy, broken = tmp_path / "=cmd()|A0.jpg", tmp_path / "<b>broken.jpg"
    copy.write_bytes(flower_photo.read_bytes())
    broken.write_text("no photo")
    return [flower_photo, copy, broken]


def download(page, folder):
    with page.expect_download() as started:
        page.get_by_text("Download as CSV").click()
    path = folder / "got.csv"
    started.value.save_as(path)
    assert started.value.suggested_filename == "flowers.csv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_many_photos_are_identified_and_a_broken_one_is_reported(many, photos, tiny_model):
    send_many(many, *photos)
    summary = many.locator("#summary")
    expect(summary).to_contain_text("2 photos identified as 1 flower.")
    expect(summary).to_contain_text("1 could not be opened:")
    expect(summary.locator(".errors li")).to_contain_text(
        "<b>broken.jpg: The file is not a supported image"
    )
    label = tiny_model.predict(photos[0]).label
    expect(many.locator("#results figcaption")).to_have_count(2)
    expect(many.locator("#results figcaption").first).to_contain_text(label)
    expect(many.locator("#results table")).to_contain_text("dahlia.jpg")


def test_photos_are_counted_by_name(many, photos, tiny_model):
    send_many(many, *photos)
    label = tiny_model.predict(photos[0]).label
    expect(many.locator("#summary .counts li")).to_have_text(f"{label} 2")


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE])
def test_nothing_scrolls_inside_the_page(open_page, flower_photo, tmp_path, viewport):
    page = open_page(viewport=viewport)
    open_many(page)
    for number in range(12):
        (tmp_path / f"{'long ' * 20}{number}.jpg").write_bytes(flower_photo.read_bytes())
    send_many(page, *tmp_path.glob("*.jpg"))
    scrolling = page.evaluate("""() => [...document.querySelectorAll("main *")].filter((element) => {
      const { overflowX, overflowY } = getComputedStyle(element);
      return (/auto|scroll/.test(overflowY) && element.scrollHeight > element.clientHeight + 1)
        || (/auto|scroll/.test(overflowX) && element.scrollWidth > element.clientWidth + 1);
    }).map((element) => element.className)""")
    assert scrolling == []


def test_captions_are_below_their_photos(many, flower_photo):
    send_many(many, flower_photo)
    photo = many.locator("#results figure img").bounding_box()
    assert many.locator("#results figcaption").bounding_box()["y"] >= photo["y"] + photo["height"]


def test_the_csv_contains_every_row(many, photos, tiny_model, tmp_path):
    send_many(many, *photos)
    rows = download(many, tmp_path)
    answer = tiny_model.predict(photos[0])
    assert [row["photo"] for row in rows] == ["dahlia.jpg", "'=cmd()|A0.jpg", "<b>broken.jpg"]
    assert rows[0]["answer"] == rows[0]["label"] == answer.label
    assert rows[0]["botanical_name"] == BOTANICAL[answer.label]
    assert float(rows[0]["probability"]) == pytest.approx(answer.probability, abs=0.02)
    assert "not a supported image" in rows[2]["error"]


def test_a_zip_is_accepted(many, photos, tmp_path):
    archive = tmp_path / "trip.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for number, photo in enumerate(photos):
            zipped.write(photo, f"day {number}/../../{photo.name}")
    send_many(many, archive)
    expect(many.locator("#summary")).to_contain_text("2 photos identified as 1 flower.")


def test_progress_is_shown_for_many_photos(many, flower_photo, tmp_path):
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for number in range(200):
            zipped.write(flower_photo, f"{number}.jpg")
    many.evaluate("""() => new MutationObserver(() => {
      const bar = document.querySelector("#summary progress");
      if (bar) window.progress = `${bar.previousSibling.textContent}, ${bar.value} / ${bar.max}`;
    }).observe(document.body, { subtree: true, childList: true, attributes: true })""")
    send_many(many, archive)
    assert re.fullmatch(r"(\d+) of 200, \1 / 200", many.evaluate("window.progress"))
    expect(many.locator("#summary")).to_contain_text("200 photos identified as 1 flower.")


def test_the_table_can_be_sorted_by_any_column_both_ways(many, tmp_path, flower_photo):
    for letter in "bca":
        (tmp_path / f"{letter}.jpg").write_bytes(flower_photo.read_bytes())
    send_many(many, *(tmp_path / f"{letter}.jpg" for letter in "bca"))

    def files():
        return many.locator("#results td:first-child").all_text_contents()

    heading = many.get_by_role("columnheader", name="File")
    assert files() == ["b.jpg", "c.jpg", "a.jpg"]
    heading.get_by_role("button").press("Enter")
    assert files() == ["a.jpg", "b.jpg", "c.jpg"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").click()
    assert files() == ["c.jpg", "b.jpg", "a.jpg"]
