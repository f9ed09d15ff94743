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
from tests.conftest import BOTANICAL
from tests.support.browsing import name, upload

SIGNS = "Heatmap for {}"
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


def as_argument(photo):
    return [base64.b64encode(photo.read_bytes()).decode(), photo.name]


# Choosing a photo


def test_by_click(page, flower_photo, label):
    with page.expect_file_chooser() as chooser:
        page.get_by_text("or click to choose one").click()
    chooser.value.set_files(str(flower_photo))
    expect(name(page)).to_have_text(label)


@pytest.mark.parametrize("target", ["#photo button", "#title"])
def test_by_drop_on_the_box_or_anywhere(page, flower_photo, label, target):
    page.locator(target).first.evaluate(DROP, as_argument(flower_photo))
    expect(name(page)).to_have_text(label)


def test_by_paste_from_the_keyboard(page, flower_photo, label):
    page.locator("body").evaluate(PASTE, as_argument(flower_photo))
    expect(name(page)).to_have_text(label)


def test_by_the_clipboard_button(open_page, tmp_path):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("""async () => {
      const canvas = new OffscreenCanvas(64, 64);
      canvas.getContext("2d").fillRect(0, 0, 32, 64);
      const blob = await canvas.convertToBlob();
      await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    }""")
    page.get_by_label("Paste from clipboard").click()
    expect(name(page)).to_have_count(1)


def test_from_the_webcam(open_page):
    page = open_page(permissions=["camera"])
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    expect(name(page)).to_have_count(1)


def test_from_an_example(page, label):
    page.locator("#samples button").first.click()  # the same photo, in the file it comes in
    expect(name(page)).to_have_text(label)


# The answer


def test_the_answer_has_a_name_a_botanical_name_and_a_probability(page, flower_photo, label):
    upload(page, flower_photo)
    expect(name(page)).to_have_text(label)
    expect(page.locator("#answer .botanical")).to_have_text(BOTANICAL[label])
    expect(page.locator("#answer b")).to_contain_text("%")
    expect(page.locator("#top dt")).to_have_count(5)


def test_the_heatmap_can_be_faded_out(page, flower_photo, label):
    upload(page, flower_photo)
    heat = page.get_by_alt_text(SIGNS.format(label))
    expect(heat).to_have_css("opacity", "1")
    page.get_by_label("Heatmap opacity").press("Home")
    expect(heat).to_have_css("opacity", "0")


def test_choosing_a_runner_up_shows_its_heatmap(page, flower_photo, label):
    upload(page, flower_photo)
    runner_up = page.locator("#top button").nth(1)
    other = runner_up.locator("dt").text_content()
    assert other != label
    runner_up.click()
    first, second = (page.get_by_alt_text(SIGNS.format(name)) for name in (label, other))
    expect(second).to_be_visible()
    expect(first).to_be_hidden()
    assert first.get_attribute("src") != second.get_attribute("src")
    expect(page.locator("#looked em")).to_have_text(other)
    expect(name(page)).to_have_text(label)


@pytest.fixture
def sees_no_flower(tiny_model):
    """The model with a rejection rule that gives every photo 12 %, below its threshold of 20 %."""
    nothing = np.zeros((1, tiny_model.network.num_features), np.float32)
    method = SupportVectors(nothing, np.zeros(1, np.float32), np.ones(1, np.float32))
    rule = Rejection(method, slope=1.0, intercept=-2.0, threshold=0.2)
    return FlowerClassifier(tiny_model.network, tiny_model.config, device="cpu", rejection=rule)


def test_a_photo_without_a_flower_shows_guesses_only_on_request(
    open_page, launch, sees_no_flower, flower_photo
):
    page = open_page(launch(sees_no_flower, "nothing"))
    upload(page, flower_photo)
    expect(name(page)).to_have_text("No flower found")
    expect(page.locator("#answer b")).to_have_text("88%")
    expect(page.locator("#top, #looked")).to_have_count(0)
    page.get_by_role("button", name="Show its guesses anyway").click()
    expect(page.locator("#top dt")).to_have_count(5)
    expect(page.locator("#looked figure")).to_be_visible()
    expect(name(page)).to_have_text("No flower found")
    upload(page, flower_photo)  # the next photo hides them again
    expect(page.locator("#top")).to_have_count(0)


def test_no_flower_is_reported_for_many_photos_and_in_the_api(
    open_page, launch, sees_no_flower, flower_photo
):
    page = open_page(launch(sees_no_flower, "nothing"))
    page.get_by_role("tab", name="Many photos").click()
    page.set_input_files("#files input[type=file]", str(flower_photo))
    expect(page.locator("#gallery .caption-label")).to_have_text("no flower")
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
    expect(page.locator("#top dt")).to_have_count(5)
    expect(page.locator("#looked")).to_be_hidden()


def test_clearing_the_photo_clears_the_answer(page, flower_photo):
    upload(page, flower_photo)
    name(page).wait_for()
    page.get_by_label("Remove Image").click()
    expect(page.locator("#answer")).to_have_text("Its name will appear here.")
    expect(page.locator("#top, #looked")).to_have_count(0)


def test_a_file_that_is_not_a_photo_is_reported_in_one_sentence(page, flower_photo, not_a_photo):
    upload(page, flower_photo)
    name(page).wait_for()
    upload(page, not_a_photo)
    expect(page.locator(".toast-body")).to_contain_text(
        "The file is not a supported image: use a JPEG, PNG"
    )
    assert "Traceback" not in page.content()
    expect(name(page)).to_have_count(0)
    expect(page.get_by_text("Drop a photo of a flower here")).to_be_visible()
    upload(page, flower_photo)
    expect(name(page)).to_have_count(1)


def test_labels_are_shown_as_text(open_page, launch, tiny_model, flower_photo):
    label = "<img src=x onerror=document.title=1> ${1+1} {{value}} *rose*"
    best = tiny_model.labels.index(tiny_model.predict(flower_photo).label)
    labels = tuple(label if index == best else str(index) for index in range(5))
    config = ModelConfig("test_resnet", labels, {label: label})
    page = open_page(launch(FlowerClassifier(tiny_model.network, config, device="cpu"), label))
    upload(page, flower_photo)
    expect(page.locator("#top dt", has_text=label)).to_have_count(1)
    expect(name(page)).to_have_text(label)
    expect(page.locator("#answer .botanical")).to_have_text(label)
    expect(page.locator("#looked em")).to_have_text(label)
    page.get_by_role("tab", name="About this model").click()
    expect(page.get_by_role("heading", name=label)).to_be_visible()
    expect(page.locator("#names")).to_contain_text(label)
    assert page.title() == TITLE


# Visitors


def test_a_reload_during_a_request_resets_the_page(page, flower_photo, label):
    upload(page, flower_photo)
    page.reload()
    expect(page.locator("#answer")).to_have_text("Its name will appear here.")
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
        answers.append(visitor.locator("#looked img").first.get_attribute("src"))
    assert answers[0] != answers[1]
