"""The page in dark mode, on a phone, with the keyboard only and without other servers."""

import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from flower_model.demo.theme import TITLE
from tests.support.browsing import PHONE, choose_by_enter, name, tab_to, upload


def test_the_page_has_a_title_a_description_an_icon_and_a_language(page, served):
    assert page.title() == TITLE
    assert "flower" in page.locator("meta[name=description]").get_attribute("content")
    assert page.locator("html").get_attribute("lang") == "en"
    icon = page.request.get(served.url + "favicon.ico")
    assert icon.headers["content-type"] == "image/svg+xml" and "#e11d62" in icon.text()


def test_dark_mode_follows_the_system(open_page, flower_photo):
    page = open_page(color_scheme="dark")
    upload(page, flower_photo)
    name(page).wait_for()
    background, text = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, "
        "getComputedStyle(document.querySelector('#answer h2')).color]"
    )
    assert sum(_rgb(background)) < 100 and sum(_rgb(text)) > 600


def test_every_tab_fits_a_narrow_phone(open_page, flower_photo, shoot):
    page = open_page(viewport=PHONE)
    upload(page, flower_photo)
    name(page).wait_for()
    for tab in ("Identify", "Many photos", "About"):
        page.get_by_role("tab", name=tab).click()
        shoot(page, f"phone {tab}")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("size", [PHONE, {"width": 390, "height": 844}], ids=["360", "390"])
def test_on_a_phone_the_answer_is_above_the_fold(open_page, tmp_path, size):
    portrait = tmp_path / "portrait.png"
    Image.new("RGB", (900, 1200), "green").save(portrait)
    page = open_page(viewport=size, has_touch=True, is_mobile=True)
    box = page.locator("#photo .stage").bounding_box()
    assert box["y"] <= 120  # title, tabs and the gap below them
    upload(page, portrait)
    probability = page.locator("#answer .probability")
    probability.wait_for()
    box = probability.bounding_box()
    assert box["y"] + box["height"] < size["height"]


def test_touch_targets_are_44_pixels_high(open_page, flower_photo):
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    upload(page, flower_photo)
    name(page).wait_for()
    targets = page.locator("#identify :is(button, a, summary):visible, [role=tab]:visible")
    heights = {t.inner_text(): t.bounding_box()["height"] for t in targets.all()}
    assert len(heights) > 5 and min(heights.values()) >= 44, heights


def test_the_page_can_be_installed_as_an_app(page):
    found = page.context.new_cdp_session(page).send("Page.getAppManifest")
    manifest = found["manifest"]
    assert found["errors"] == [] and manifest["display"] == "kStandalone"
    assert manifest["name"] == TITLE and manifest["startUrl"] == page.url
    assert page.request.get(manifest["icons"][0]["url"]).headers["content-type"] == "image/svg+xml"


def test_the_page_works_with_the_keyboard_only(page, flower_photo, label):
    page.on("filechooser", lambda _: None)  # or the first chooser opens before the handler exists
    tab_to(page, "#photo .choose")
    choose_by_enter(page, flower_photo)
    expect(name(page)).to_have_text(label)
    tab_to(page, "#photo .heatmap")
    page.keyboard.press("Enter")
    expect(page.locator("#photo .legend em")).to_have_text(label)
    tab_to(page, "#answer .candidate")
    chosen = page.locator("#answer .candidate").first.get_attribute("data-name")
    page.keyboard.press("Enter")
    expect(page.locator("#photo .legend em")).to_have_text(chosen)
    tab_to(page, "#photo .add", back=True)
    choose_by_enter(page, flower_photo)
    page.get_by_role("button", name="Photo 2", exact=True).wait_for()
    tab_to(page, "#photo .thumbnails button", back=True)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    first = page.get_by_role("button", name="Photo 1", exact=True)
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(first).to_be_focused()


def test_no_tab_contacts_another_server(browser, served, flower_photo):
    page, hosts = browser.new_page(), set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.goto(served.url)
    upload(page, flower_photo)
    name(page).wait_for()
    page.get_by_role("tab", name="Many photos").click()
    page.set_input_files("#files input[type=file]", str(flower_photo))
    page.locator("#summary .csv").wait_for()
    page.get_by_role("tab", name="About").click()
    page.locator("#code .cm-line").first.wait_for()
    assert hosts <= {served.url.split("/")[2], ""}  # "" is a data: or blob: address
    page.close()


def _rgb(colour):
    return [int(float(part)) for part in re.findall(r"[\d.]+", colour)[:3]]
