"""Labels, details and file names that contain markup are shown as text on every tab."""

import pytest
import timm
import torch
from playwright.sync_api import expect

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig

MARKUP = [
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "**b** <b>bold</b>",
    "${alert(1)} {{7*7}}",
    "'\"><script>alert(1)</script>",
]
NAME = "<img src=x onerror=alert(1)>**b**.jpg"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=len(MARKUP))
    details = {
        "recipe": {"model": {"license": MARKUP[0]}, "data": {"credits": MARKUP}},
        "tests": {MARKUP[0]: {"top1": 0.5}},
        "made_with": {"minutes": 1, "machine": MARKUP[4]},
    }
    config = ModelConfig(
        "test_resnet",
        tuple(MARKUP),
        {label: label for label in MARKUP},
        temperature=0.02,
        details=details,
    )
    return FlowerClassifier(network, config, device="cpu")


@pytest.fixture
def page(open_page, launch, model):
    page = open_page(launch(model, MARKUP[0]))
    page.alerts = []
    page.on("dialog", lambda dialog: (page.alerts.append(dialog.message), dialog.dismiss()))
    yield page
    page.wait_for_timeout(300)  # time for an onerror handler to run
    assert page.alerts == []
    made_of_text = "img[src='x'], a[href^='javascript'], b:text-is('bold'), strong:text-is('b')"
    assert page.locator(made_of_text).count() == 0


@pytest.fixture
def photo(tmp_path, flower_photo):
    path = tmp_path / NAME
    path.write_bytes(flower_photo.read_bytes())
    return path


def test_one_photo(page, model, photo, flower_photo):
    page.set_input_files("#photo input[type=file]", str(photo))
    label = model.predict(flower_photo).label
    expect(page.locator("#answer h2")).to_have_text(label)
    expect(page.locator("#answer .botanical")).to_have_text(label)
    candidate = page.locator("#answer .candidate").first
    other = candidate.get_attribute("data-name")
    assert other in MARKUP and other != label
    candidate.click()
    expect(page.locator("#photo .legend em")).to_have_text(other)


def test_many_photos(page, model, photo, flower_photo, tmp_path):
    bad = tmp_path / f"bad {NAME}"
    bad.write_text("no photo")
    page.get_by_role("tab", name="Many photos").click()
    page.set_input_files("#files input[type=file]", [str(photo), str(bad)])
    label = model.predict(flower_photo).label
    expect(page.locator("#results table")).to_contain_text(label)
    expect(page.locator("#results table")).to_contain_text("<img src=x onerror=alert(1)>**b**.jpg")
    expect(page.locator("#results .gallery")).to_contain_text(label)
    expect(page.locator("#summary")).to_contain_text("bad <img src=x onerror=alert(1)>**b**.jpg")


def test_about(page):
    page.get_by_role("tab", name="About").click()
    about = page.locator(".about:visible")
    for name in MARKUP:
        expect(page.locator("#names")).to_contain_text(name)
    expect(about.first).to_contain_text(f"Licence {MARKUP[0]}")
    expect(page.locator("body")).to_contain_text(f"Trained in 1 minute on {MARKUP[4]}")
    expect(page.locator(".about tbody")).to_contain_text(MARKUP[0])
