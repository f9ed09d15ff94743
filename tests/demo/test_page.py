"""Tab "Identify" in a browser: a photo, its name and its heatmap."""

import base64

import numpy as np
import pytest
import timm
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import expect

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from flower_model.demo.theme import TITLE
from flower_model.rejection import Rejection, SupportVectors
from tests.conftest import BOTANICAL, PHONE
from tests.support.browsing import name, upload

DROP = """(element, [content, name]) => {
  const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const options = { bubbles: true, cancelable: true };
  element.dispatchEvent(new DragEvent("drop", { ...options, dataTransfer: transfer }));
}"""
PASTE = DROP.replace('new DragEvent("drop"', 'new ClipboardEvent("paste"').replace(
    "dataTransfer:", "clipboardData:"
)


@pytest.fixture
def not_a_photo(tmp_path):
    path = tmp_path / "<b>rose.jpg"
    path.write_text("<b>no photo</b>")
    return path


@pytest.fixture
def requests(page):
    """The REST requests of the page."""
    sent = []
    page.on("request", lambda r: sent.append(r) if "/api/identify" in r.url else None)
    return sent


def as_argument(photo):
    return [base64.b64encode(photo.read_bytes()).decode(), photo.name]


# Choosing a photo: every way sends exactly one request


def test_by_the_button(page, requests, flower_photo, label):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a photo").click()
    chooser.value.set_files(str(flower_photo))
    expect(name(page)).to_have_text(label)
    assert len(requests) == 1


@pytest.mark.parametrize("target", ["#photo .stage", "#title"])
def test_by_drop_on_the_box_or_anywhere(page, requests, flower_photo, label, target):
    page.locator(target).first.evaluate(DROP, as_argument(flower_photo))
    expect(name(page)).to_have_text(label)
    assert len(requests) == 1


@pytest.mark.parametrize("target", ["body", "#title", "#photo .choose >> nth=0"])
def test_by_paste(page, requests, flower_photo, label, target):
    page.locator(target).evaluate(PASTE, as_argument(flower_photo))
    expect(name(page)).to_have_text(label)
    assert len(requests) == 1


def test_by_the_webcam(open_page):
    page = open_page(permissions=["camera"])
    page.get_by_role("button", name="Use the camera").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_role("button", name="Take the photo").click()
    expect(name(page)).to_have_count(1)
    expect(page.locator("#photo video")).to_be_hidden()


def test_the_phones_camera_opens_from_its_button(open_page):
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    expect(page.get_by_role("button", name="Take or choose a photo")).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Camera").click()
    assert chooser.value.element.get_attribute("capture") == "environment"


def test_by_a_sample_photo(open_page, launch, tiny_model):
    labels = tuple(f"dahlia {number}" for number in range(5))
    model = FlowerClassifier(tiny_model.network, ModelConfig("test_resnet", labels), device="cpu")
    page = open_page(launch(model, "dahlias"))
    page.get_by_role("button", name="A dahlia").click()
    expect(name(page)).to_contain_text("dahlia")


def test_a_model_that_does_not_know_the_samples_offers_none(page):
    expect(page.locator(".sample")).to_have_count(0)


def test_another_photo_is_chosen_with_one_button(page, flower_photo, label):
    upload(page, flower_photo)
    expect(name(page)).to_have_text(label)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose another photo").click()
    chooser.value.set_files(str(flower_photo))
    expect(name(page)).to_have_text(label)


def test_the_old_answer_disappears_when_a_new_photo_is_chosen(page, flower_photo, tmp_path):
    upload(page, flower_photo)
    name(page).wait_for()
    page.route("**/api/identify", lambda route: None)  # never answers
    upload(page, flower_photo)
    expect(page.locator("#answer")).to_have_text("Identifying …")
    expect(name(page)).to_have_count(0)


# What is sent


def noisy_photo(path, size, **options):
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    Image.fromarray(noise).resize(size).save(path, **options)
    return path


KEEP_PHOTO = """() => {
  const send = window.fetch;
  window.fetch = async (url, options) => {
    const photo = new Uint8Array(await options.body.get("photo").arrayBuffer());
    window.sentPhoto = [...photo].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return send(url, options);
  };
}"""


def sent_photo(page, photo):
    """The photo that the browser sends for a file."""
    page.evaluate(KEEP_PHOTO)
    upload(page, photo)
    name(page).wait_for()
    return bytes.fromhex(page.evaluate("window.sentPhoto"))


@pytest.mark.parametrize("form", ["jpg", "png", "webp"])
def test_large_photos_are_shrunk_before_the_upload(page, tmp_path, form):
    photo = noisy_photo(tmp_path / f"large.{form}", (4000, 3000))
    sent = tmp_path / "sent.jpg"
    sent.write_bytes(sent_photo(page, photo))
    with Image.open(sent) as picture:
        assert picture.format == "JPEG" and picture.size == (1280, 960)
    assert sent.stat().st_size < photo.stat().st_size / 3


def test_shrinking_applies_the_orientation(page, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees
    photo = noisy_photo(tmp_path / "turned.jpg", (4000, 3000), exif=exif)
    sent = tmp_path / "sent.jpg"
    sent.write_bytes(sent_photo(page, photo))
    with Image.open(sent) as picture:
        assert picture.size == (960, 1280) and 0x0112 not in picture.getexif()


def test_small_photos_are_sent_unchanged(page, flower_photo):
    assert sent_photo(page, flower_photo) == flower_photo.read_bytes()


def test_a_format_that_the_browser_does_not_know_is_sent_unchanged_and_shown(page, tmp_path):
    photo = tmp_path / "photo.tiff"
    Image.new("RGB", (600, 400), "red").save(photo)
    assert sent_photo(page, photo) == photo.read_bytes()
    image = page.get_by_alt_text("Your photo")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") == 600


# The answer


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
    expect(page.locator("#table td").nth(1)).to_have_text("no flower")
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


# Errors


def test_a_file_that_is_not_a_photo_is_reported_in_one_sentence(page, flower_photo, not_a_photo):
    upload(page, flower_photo)
    name(page).wait_for()
    upload(page, not_a_photo)
    expect(page.locator("#answer .error")).to_contain_text("A photo is needed, not text.")
    expect(name(page)).to_have_count(0)
    expect(page.locator("#photo .heatmap")).to_be_hidden()
    upload(page, flower_photo)
    expect(name(page)).to_have_count(1)


def test_a_lost_connection_is_reported_and_the_photo_can_be_sent_again(page, flower_photo, label):
    page.route("**/api/identify", lambda route: route.abort())
    upload(page, flower_photo)
    expect(page.locator("#answer .error")).to_contain_text("The server can't be reached.")
    page.unroute("**/api/identify")
    page.get_by_role("button", name="Try again").click()
    expect(name(page)).to_have_text(label)


def test_labels_are_shown_as_text(open_page, launch, tiny_model, flower_photo):
    label = "<img src=x onerror=document.title=1> ${1+1} {{value}} *rose*"
    best = tiny_model.labels.index(tiny_model.predict(flower_photo).label)
    labels = tuple(label if index == best else str(index) for index in range(5))
    config = ModelConfig("test_resnet", labels, {label: label}, temperature=0.02)
    page = open_page(launch(FlowerClassifier(tiny_model.network, config, device="cpu"), label))
    upload(page, flower_photo)
    expect(name(page)).to_have_text(label)
    expect(page.locator("#answer .botanical")).to_have_text(label)
    page.get_by_role("button", name="Show heatmap").click()
    expect(page.locator("#photo .legend em")).to_have_text(label)
    page.get_by_role("tab", name="About").click()
    expect(page.get_by_role("heading", name=label)).to_be_visible()
    expect(page.locator("#names")).to_contain_text(label)
    assert page.title() == TITLE


# Visitors


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
