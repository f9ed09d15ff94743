"""The answer in the tab "Identify": name, links and heatmap."""

import numpy as np
import pytest
import timm
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import expect

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from flower_model.rejection import Rejection, SupportVectors
from tests.conftest import BOTANICAL
from tests.support.browsing import name, upload


def test_the_answer_has_a_name_a_botanical_name_and_a_probability(page, flower_photo, label):
    upload(page, flower_photo)
    expect(name(page)).to_have_text(label)
    expect(page.locator("#answer .botanical")).to_have_text(BOTANICAL[label])
    expect(page.locator("#answer .probability b")).to_contain_text("%")
    expect(page.get_by_text("Never eat or handle a plant based on this answer.")).to_be_visible()


def test_links_lead_to_the_botanical_name_and_open_a_new_tab(page, flower_photo, label):
    upload(page, flower_photo)
    link = page.locator("#answer .links a").first
    assert link.get_attribute("href").endswith(BOTANICAL[label].replace(" ", "+"))
    assert link.get_attribute("target") == "_blank" and "noopener" in link.get_attribute("rel")


def test_the_name_can_be_copied(open_page, flower_photo, label):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    upload(page, flower_photo)
    page.get_by_role("button", name="Copy name").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == BOTANICAL[label]


def test_the_heatmap_lies_over_the_part_that_the_model_sees(page, flower_photo, label):
    upload(page, flower_photo)
    button = page.get_by_role("button", name="Show heatmap")
    button.click()
    layer = page.get_by_alt_text(f"Heatmap for {label}")
    expect(layer).to_be_visible()
    expect(page.locator("#photo .legend em")).to_have_text(label)
    photo, seen = page.locator("#photo figure > img").bounding_box(), layer.bounding_box()
    assert seen["width"] == pytest.approx(seen["height"], abs=1)  # the model's input is square
    assert seen["height"] <= photo["height"] and seen["width"] < photo["width"]
    middle = photo["x"] + photo["width"] / 2
    assert seen["x"] + seen["width"] / 2 == pytest.approx(middle, abs=1)
    page.get_by_role("button", name="Hide heatmap").click()
    expect(layer).to_be_hidden()


def test_choosing_a_candidate_shows_its_heatmap(page, flower_photo, label):
    upload(page, flower_photo)
    candidate = page.locator("#answer .candidate").first
    other = candidate.get_attribute("data-name")
    assert other != label
    candidate.click()
    expect(page.get_by_alt_text(f"Heatmap for {other}")).to_be_visible()
    expect(page.get_by_alt_text(f"Heatmap for {label}")).to_be_hidden()
    expect(page.locator("#photo .legend em")).to_have_text(other)
    expect(name(page)).to_have_text(label)


@pytest.fixture
def rejecting_model(tiny_model):
    """The model with a rejection rule that gives every photo 12 %, below its threshold of 20 %."""
    nothing = np.zeros((1, tiny_model.network.num_features), np.float32)
    method = SupportVectors(nothing, np.zeros(1, np.float32), np.ones(1, np.float32))
    rule = Rejection(method, slope=1.0, intercept=-2.0, threshold=0.2)
    return FlowerClassifier(tiny_model.network, tiny_model.config, device="cpu", rejection=rule)


def test_a_photo_without_a_flower_shows_guesses_only_on_request(
    open_page, launch, rejecting_model, flower_photo
):
    page = open_page(launch(rejecting_model, "nothing"))
    upload(page, flower_photo)
    expect(name(page)).to_have_text("No flower found")
    expect(page.locator("#answer .probability b")).to_have_text("88%")
    expect(page.locator("#answer .candidate").first).to_be_hidden()
    page.get_by_text("Show the closest matches").click()
    expect(page.get_by_role("heading", name="If it were a flower")).to_be_visible()
    expect(page.locator("#answer .candidate").first).to_be_visible()


def test_no_flower_is_reported_for_many_photos_and_in_the_api(
    open_page, launch, rejecting_model, flower_photo
):
    page = open_page(launch(rejecting_model, "nothing"))
    page.get_by_role("tab", name="Many photos").click()
    page.set_input_files("#files input[type=file]", str(flower_photo))
    expect(page.locator("#results td").nth(1)).to_have_text("no flower")
    client = Client(page.url, verbose=False)
    answer = client.predict(handle_file(flower_photo), api_name="/identify")
    assert answer["is_flower"] is False
    assert answer["flower_probability"] == pytest.approx(0.12, abs=0.01)


def test_a_network_without_activation_maps_has_no_heatmap(open_page, launch, flower_photo):
    network = timm.create_model("test_vit", num_classes=5)
    config = ModelConfig("test_vit", tuple(BOTANICAL), BOTANICAL)
    page = open_page(launch(FlowerClassifier(network, config, device="cpu"), "vit"))
    upload(page, flower_photo)
    name(page).wait_for()
    expect(page.locator("#photo .heatmap")).to_be_hidden()


def test_a_reload_during_a_request_resets_the_page(page, flower_photo, label):
    upload(page, flower_photo)
    page.reload()
    expect(page.locator("#answer")).to_have_text("The name will appear here.")
    page.locator("html[data-page=ready]").wait_for(state="attached")
    upload(page, flower_photo)
    expect(name(page)).to_have_text(label)


def test_two_visitors_do_not_see_each_others_photos(open_page, tmp_path):
    photos, answers = [], []
    noise = np.random.default_rng(0)
    for number in range(2):
        photos.append(tmp_path / f"{number}.png")
        Image.fromarray(noise.integers(0, 256, (80, 80, 3), np.uint8)).save(photos[-1])
    visitors = [open_page(), open_page()]
    for visitor, photo in zip(visitors, photos, strict=True):
        upload(visitor, photo)
    for visitor in visitors:
        name(visitor).wait_for()
        answers.append(visitor.locator("#photo .heatmaps img").first.get_attribute("src"))
    assert answers[0] != answers[1]
