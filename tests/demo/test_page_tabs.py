"""Tabs "Many photos" and "About", and accessibility of the whole page."""

import csv
import io
import re
import zipfile

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from flower_model import FlowerClassifier
from flower_model.config import PICTURES, ModelConfig
from tests.conftest import BOTANICAL

# Serious or critical findings of axe in Gradio's own markup.
GRADIOS_OWN = {
    "nested-interactive": "gr.File's button to add more files holds a hidden file input",
}


@pytest.fixture
def many(page):
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#files input[type=file]").wait_for(state="attached")
    return page


@pytest.fixture
def photos(tmp_path, flower_photo):
    """Two photos, one of them named like a formula, and a file that is not a photo."""
    copy, broken = tmp_path / "=cmd()|A0.jpg", tmp_path / "<b>broken.jpg"
    copy.write_bytes(flower_photo.read_bytes())
    broken.write_text("no photo")
    return [flower_photo, copy, broken]


def send(page, *files):
    page.set_input_files("#files input[type=file]", [str(file) for file in files])
    page.locator("#csv a").wait_for()


def download(page, folder):
    with page.expect_download() as started:
        page.get_by_text("Download as CSV").click()
    path = folder / "got.csv"
    started.value.save_as(path)
    assert started.value.suggested_filename == "flowers.csv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_many_photos_are_identified_and_a_broken_one_is_reported(many, photos, tiny_model):
    send(many, *photos)
    summary = many.locator("#summary")
    expect(summary).to_contain_text("2 photos identified. 1 could not be opened:")
    expect(summary.locator("li")).to_contain_text(
        "<b>broken.jpg: The file is not a supported image"
    )
    label = tiny_model.predict(photos[0]).label
    expect(many.locator("#gallery .caption-label")).to_have_count(2)
    expect(many.locator("#gallery .caption-label").first).to_contain_text(label)
    expect(many.locator("#table")).to_contain_text("dahlia.jpg")


def test_the_csv_contains_every_row(many, photos, tiny_model, tmp_path):
    send(many, *photos)
    rows = download(many, tmp_path)
    answer = tiny_model.predict(photos[0])
    assert [row["photo"] for row in rows] == ["dahlia.jpg", "'=cmd()|A0.jpg", "<b>broken.jpg"]
    assert rows[0]["label"] == answer.label
    assert rows[0]["botanical_name"] == BOTANICAL[answer.label]
    assert float(rows[0]["probability"]) == pytest.approx(answer.probability, abs=0.02)
    assert "not a supported image" in rows[2]["error"]


def test_a_zip_is_accepted(many, photos, tmp_path):
    archive = tmp_path / "trip.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for number, photo in enumerate(photos):
            zipped.write(photo, f"day {number}/../../{photo.name}")
    send(many, archive)
    expect(many.locator("#summary")).to_contain_text("2 photos identified. 1 could not be opened:")


def test_progress_is_shown_for_many_photos(many, flower_photo, tmp_path):
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for number in range(200):
            zipped.write(flower_photo, f"{number}.jpg")
    many.evaluate("""() => new MutationObserver(() => {
      const bar = document.querySelector("#summary [role=progressbar]");
      if (bar) window.progress = bar.ariaValueText;
    }).observe(document.body, { subtree: true, childList: true, attributes: true })""")
    send(many, archive)
    assert re.fullmatch(r"Identifying: \d+ / 200 photos", many.evaluate("window.progress"))
    expect(many.locator("#summary")).to_contain_text("200 photos identified.")


def test_the_table_can_be_sorted_by_any_column_both_ways(many, tmp_path, flower_photo):
    for letter in "bca":
        (tmp_path / f"{letter}.jpg").write_bytes(flower_photo.read_bytes())
    send(many, *(tmp_path / f"{letter}.jpg" for letter in "bca"))

    def files():
        return many.locator("#table td:first-child").all_text_contents()

    heading = many.get_by_role("columnheader", name="File")
    assert files() == ["b.jpg", "c.jpg", "a.jpg"]
    heading.get_by_role("button").press("Enter")
    assert files() == ["a.jpg", "b.jpg", "c.jpg"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").click()
    assert files() == ["c.jpg", "b.jpg", "a.jpg"]


def test_removing_the_files_removes_their_answers(many, photos):
    send(many, *photos)
    many.locator("#files").get_by_label("Clear").click()
    expect(many.locator("#csv, #gallery")).to_have_count(0)
    expect(many.locator("#summary")).to_have_text("")


@pytest.fixture
def open_about(open_page, launch, tiny_model):
    """`open_about(details)` opens the tab for a model user/gardens with these details."""

    def open_about(details, **pictures):
        config = ModelConfig("test_resnet", tuple(BOTANICAL), BOTANICAL, details=details)
        model = FlowerClassifier(tiny_model.network, config, device="cpu", pictures=pictures)
        page = open_page(launch(model, "user/gardens"))
        page.get_by_role("tab", name="About").click()
        page.locator("#names").wait_for()
        return page

    return open_about


def test_about_shows_the_details_of_the_weights_folder(open_about):
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), "blue").save(picture, "PNG")
    page = open_about(
        {
            "metrics": {"top1": 0.961, "top5": 1.0, "mean_per_class": 0.95},
            "train": {"sources": ["gardens:train"], "photos": 3952},
            "held_out": {"sources": ["gardens:val"], "photos": 102, "used_for": "temperature"},
            "recipe": {
                "model": {"license": "apache-2.0"},
                "data": {"credits": ["Photos by <b>Flora</b>: CC BY 4.0."]},
            },
        },
        **{"confusion-matrix.png": picture.getvalue()},
    )
    for text in (
        "test_resnet, 5 names · licence apache-2.0",
        "Top-1 accuracy",
        "96.1%",
        "Trained on 3952 photos of gardens:train.",
        "Photos by <b>Flora</b>: CC BY 4.0.",
        'FlowerClassifier.from_pretrained("user/gardens")',
    ):
        expect(page.locator("body")).to_contain_text(text)
    expect(page.get_by_alt_text(PICTURES["confusion-matrix.png"])).to_be_visible()


def test_malformed_details_are_omitted(open_about):
    page = open_about({"metrics": 7, "tests": [], "train": {}, "held_out": None, "recipe": "x"})
    expect(page.locator("#names tr")).to_have_count(5)


def test_missing_details_are_omitted(page):
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#names tr")).to_have_count(5)
    for heading in ("How good it is", "Confusion matrix", "Data and licences"):
        expect(page.get_by_text(heading)).to_have_count(0)


def test_the_names_can_be_searched(page):
    page.get_by_role("tab", name="About").click()
    page.get_by_label("Search").fill("RosA")
    expect(page.locator("#names tr:visible")).to_have_count(1)
    page.get_by_label("Search").fill("helianthus")
    expect(page.locator("#names tr:visible")).to_contain_text("sunflower")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_our_markup(open_page, photos, scheme, shoot):
    page, found = open_page(color_scheme=scheme), []

    def look(what):
        shoot(page, f"{scheme} {what}")
        page.wait_for_timeout(400)  # until fading elements have their full contrast
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found.append((violation["id"], [node["html"][:200] for node in violation["nodes"]]))

    look("empty")
    page.set_input_files("#photo input[type=file]", str(photos[0]))
    page.locator("#answer h2").wait_for()
    look("answer")
    page.get_by_role("button", name="Show heatmap").click()
    look("heatmap")
    page.get_by_role("tab", name="Many photos").click()
    send(page, *photos)
    look("many")
    page.get_by_role("tab", name="About").click()
    page.locator("#names tr").first.wait_for()
    look("about")
    assert [finding for finding in found if finding[0] not in GRADIOS_OWN] == []
