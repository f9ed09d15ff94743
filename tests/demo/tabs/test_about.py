"""Tab "About"."""

import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from flower_model import FlowerClassifier
from flower_model.config import PICTURES, ModelConfig
from flower_model.demo.tabs.about import _measured
from tests.conftest import BOTANICAL


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
            "per_class": {"rose": {"taken_for": {"tulip": 1, "daisy": 3}}},
        },
        **{"confusion-matrix.png": picture.getvalue()},
    )
    for text in (
        "test_resnet, 5 names · Licence apache-2.0 · Runs in PyTorch on a CPU",
        "sometimes taken for daisy, tulip",
        "Correct name",
        "96.1%",
        "Trained on 3,952 photos of gardens:train.",
        "Photos by <b>Flora</b>: CC BY 4.0.",
        'FlowerClassifier.from_pretrained("user/gardens")',
    ):
        expect(page.locator("body")).to_contain_text(text)
    headings = page.locator(".about h3").all_text_contents()
    assert headings[:3] == ["The 5 flowers it knows", "Accuracy", "Limits and data"]
    chart = page.get_by_alt_text(PICTURES["confusion-matrix.png"])
    expect(chart).to_be_hidden()
    page.get_by_role("button", name="Technical charts").click()
    expect(chart).to_be_visible()


def test_names_are_in_alphabetical_order_whatever_their_case(open_page, launch, tiny_model):
    labels = ("tulip", "Rose", "daisy", "sunflower", "Dahlia")
    model = FlowerClassifier(tiny_model.network, ModelConfig("test_resnet", labels), device="cpu")
    page = open_page(launch(model, "user/gardens"))
    page.get_by_role("tab", name="About").click()
    page.locator("#names").wait_for()
    names = page.locator("#names li b").all_text_contents()
    assert names == ["Dahlia", "daisy", "Rose", "sunflower", "tulip"]


def test_percentages_have_one_format():
    rejection = {"flowers": 102, "flowers_kept": 0.973}
    text = _measured({"metrics": {"top1": 0.961}, "rejection": rejection})
    assert "96.1%" in text and "97.3% are accepted as flowers" in text


def test_malformed_details_are_omitted(open_about):
    page = open_about({"metrics": 7, "tests": [], "train": {}, "held_out": None, "recipe": "x"})
    expect(page.locator("#names li")).to_have_count(5)


def test_missing_details_are_omitted(page):
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#names li")).to_have_count(5)
    for heading in ("Accuracy", "Technical charts", "sometimes taken for", "Trained on"):
        expect(page.get_by_text(heading)).to_have_count(0)


def test_the_names_can_be_searched(page):
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#names li:visible")).to_have_count(0)
    page.get_by_label("Search").fill("RosA")
    expect(page.locator("#names li:visible")).to_have_count(1)
    page.get_by_label("Search").fill("helianthus")
    expect(page.locator("#names li:visible")).to_contain_text("sunflower")
    expect(page.locator("#names [role=status]")).to_have_text("1 found")
    page.get_by_label("Search").fill("orchid")
    expect(page.locator("#names [role=status]")).to_have_text("0 found")
