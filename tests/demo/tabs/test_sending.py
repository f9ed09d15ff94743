"""The photo that the tab "Identify" sends, and errors."""

import pytest
from PIL import Image
from playwright.sync_api import expect

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from flower_model.demo.theme import TITLE
from tests.support.browsing import name, noisy_photo, upload


@pytest.fixture
def not_a_photo(tmp_path):
    path = tmp_path / "<b>rose.jpg"
    path.write_text("<b>no photo</b>")
    return path


KEEP_PHOTO = """() => {
  const send = window.fetch;
  window.fetch = async (url, options) => {
    const photo = new Uint8Array(await options.body.get("photos").arrayBuffer());
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


def test_a_file_that_is_not_a_photo_is_reported_in_one_sentence(page, flower_photo, not_a_photo):
    upload(page, flower_photo)
    name(page).wait_for()
    upload(page, not_a_photo)
    expect(page.locator("#answer .error")).to_contain_text("The file is not a supported image")
    expect(name(page)).to_have_count(0)
    expect(page.locator("#photo .heatmap")).to_be_hidden()
    upload(page, flower_photo)
    expect(name(page)).to_have_count(1)


def test_a_lost_connection_is_reported_and_the_photo_can_be_sent_again(page, flower_photo, label):
    page.route("**/api/identify", lambda route: route.abort())
    upload(page, flower_photo)
    expect(page.locator("#answer .error")).to_contain_text("The server can't be reached.")
    page.unroute("**/api/identify")
    page.get_by_role("button", name="Try again").press("Enter")
    expect(name(page)).to_have_text(label)
    expect(page.get_by_role("button", name="Choose another photo")).to_be_focused()


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
