"""Tab "Teach"."""

import time
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from flower_model import FlowerClassifier
from flower_model.demo.identifier import PhotoIdentifier
from tests.demo.test_accessibility import findings
from tests.support.browsing import DROP, as_argument, choose_by_enter, tab_to
from tests.support.commands import Served
from tests.support.teaching import KNOWN, NEW, disc_photos, make_teachable

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model that can be taught, and photos of a flower that it doesn't know."""
    place = tmp_path_factory.mktemp("teach")
    make_teachable(place / "model")
    for number, photo in enumerate(disc_photos(NEW, 12)):
        Image.fromarray(photo).save(place / f"{number}.png")
    (place / "broken.png").write_bytes(b"\x89PNG")
    return place


@pytest.fixture(scope="module")
def teachable(place):
    with Served("--model", place / "model") as page:
        yield page


@pytest.fixture
def open_tab(open_page, teachable):
    """`open_tab(**PHONE)` opens the tab for a new visitor."""

    def open_tab(**options):
        page = open_page(teachable.url, **options)
        page.get_by_role("tab", name="Teach").click()
        page.locator("#teach-photos input[type=file]").wait_for(state="attached")
        return page

    return open_tab


def send(page, place, label=NEW, photos=range(4)):
    page.locator("#teach-name input, #teach-name textarea").fill(label)
    files = [str(place / f"{number}.png") for number in photos]
    page.set_input_files("#teach-photos input[type=file]", files)
    expect(page.locator("#teach-photos tr")).to_have_count(len(files))
    page.locator("#teach-button").click()


def taught(page, label=NEW):
    expect(page.locator("#lesson h2").first).to_have_text(label)
    return page


def try_photo(page, place, number):
    page.set_input_files("#teach-try input[type=file]", str(place / f"{number}.png"))
    return page.locator("#teach-answer h2")


def test_a_flower_is_taught_measured_and_tried(open_tab, place):
    page = open_tab()
    send(page, place)
    lesson = taught(page).locator("#lesson")
    expect(lesson).to_contain_text("Learnt from 4 photos.")
    expect(lesson).to_contain_text("Named correctly when held out4 of 4 photos")
    expect(lesson).to_contain_text("Photos of other flowers now misnamed0 of 40")
    expect(try_photo(page, place, 11)).to_have_text(NEW)


def test_photos_are_added_with_the_mouse_the_keyboard_or_by_a_drop(open_tab, place):
    page = open_tab()
    page.on("filechooser", lambda _: None)  # or the first chooser opens before the handler exists
    page.set_input_files("#teach-photos input[type=file]", str(place / "0.png"))
    rows = page.locator("#teach-photos tr")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add files").click()
    chooser.value.set_files(str(place / "1.png"))
    expect(rows).to_have_count(2)
    expect(page.get_by_role("button", name="Add files")).to_be_focused()
    choose_by_enter(page, place / "2.png")
    expect(rows).to_have_count(3)
    page.locator("#title").evaluate(DROP, as_argument(place / "3.png", type="image/png"))
    expect(rows).to_have_count(4)
    page.locator("#teach-photos").get_by_label("Clear").click()
    expect(rows).to_have_count(0)
    expect(page.locator("#teach-photos button")).to_be_focused()


def test_teach_waits_for_photos_that_are_being_shrunk(open_tab, tmp_path):
    page = open_tab()
    page.locator("#teach-name input, #teach-name textarea").fill(NEW)
    for number, photo in enumerate(disc_photos(NEW, 6)):
        Image.fromarray(photo).resize((4000, 4000)).save(tmp_path / f"{number}.jpg")
    files = [str(path) for path in tmp_path.glob("*.jpg")]
    page.set_input_files("#teach-photos input[type=file]", files)
    page.locator("#teach-photos [data-status]").wait_for()
    page.locator("#teach-button").click()
    expect(taught(page).locator("#lesson")).to_contain_text("Learnt from 6 photos.")


def test_photos_are_tried_one_after_the_other(open_tab, place):
    page = open_tab()
    send(page, place)
    taught(page)
    for number in (11, 10):
        expect(try_photo(page, place, number)).to_have_text(NEW)
        expect(page.locator("#teach-answer img")).to_be_visible()
    page.set_input_files("#teach-try input[type=file]", str(place / "broken.png"))
    expect(page.locator(".toast-body")).to_contain_text("not a supported image")
    expect(page.locator("#teach-answer h2")).to_have_count(0)
    expect(try_photo(page, place, 9)).to_have_text(NEW)


def test_the_download_is_a_weights_folder_that_knows_the_flower(open_tab, place, tmp_path):
    page = open_tab()
    send(page, place)
    taught(page).get_by_role("button", name="Prepare the download").click()
    with page.expect_download() as started:
        page.locator("#teach-download").click()
    started.value.save_as(tmp_path / "got.zip")
    with zipfile.ZipFile(tmp_path / "got.zip") as archive:
        archive.extractall(tmp_path / "mine")
    model = FlowerClassifier.from_pretrained(tmp_path / "mine")
    assert model.labels == [*KNOWN, NEW] and (tmp_path / "mine/references.safetensors").exists()
    assert model.predict(place / "11.png").label == NEW


def test_the_tab_works_with_the_keyboard_only(open_tab, place):
    page = open_tab()
    page.on("filechooser", lambda _: None)  # or the first chooser opens before the handler exists
    tab_to(page, "#teach-name :is(input, textarea)")
    page.keyboard.type(NEW)
    tab_to(page, "#teach-photos button")
    choose_by_enter(page, *(place / f"{number}.png" for number in range(4)))
    expect(page.locator("#teach-photos tr")).to_have_count(4)
    tab_to(page, "#teach-button")
    page.keyboard.press("Enter")
    taught(page)
    tab_to(page, "#teach-try button")
    choose_by_enter(page, place / "11.png")
    expect(page.locator("#teach-answer h2")).to_have_text(NEW)
    tab_to(page, "#teach-save")
    page.keyboard.press("Enter")
    page.locator("#teach-download").wait_for()
    tab_to(page, "#teach-download")
    with page.expect_download() as started:
        page.keyboard.press("Enter")
    assert started.value.suggested_filename == "flower-model.zip"


def test_a_prepared_download_expires_like_an_upload(serve_page, open_page, place, tmp_path):
    identify = PhotoIdentifier(FlowerClassifier.from_pretrained(place / "model"))
    page = open_page(serve_page(identify, "discs", keep_seconds=8))
    page.get_by_role("tab", name="Teach").click()
    page.locator("#teach-photos input[type=file]").wait_for(state="attached")
    send(page, place)
    taught(page).get_by_role("button", name="Prepare the download").click()
    page.locator("#teach-download").wait_for()
    assert [*(tmp_path / "uploads").rglob("flower-model.zip")]
    deadline = time.monotonic() + 30
    while any((tmp_path / "uploads").rglob("*.*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [*(tmp_path / "uploads").rglob("flower-model.zip")]


def test_another_visitor_sees_nothing_of_it(open_tab, place):
    page, other = open_tab(), open_tab()
    send(page, place)
    taught(page)
    expect(other.locator("#teach-try")).to_have_count(0)
    send(other, place, label="another name")
    taught(other, "another name")
    expect(try_photo(other, place, 11)).to_have_text("another name")
    expect(other.locator("#lesson h2")).to_have_count(1)


def test_a_visit_can_teach_several_flowers(open_tab, place):
    page = open_tab()
    send(page, place, "first", range(3))
    taught(page, "first")
    send(page, place, "second", range(3, 6))
    taught(page, "second")
    expect(page.locator("#lesson h2")).to_have_text(["second", "first"])


@pytest.mark.parametrize(
    ("label", "photos", "message"),
    [
        ("", range(3), "Give the flower a name."),
        ("two photos", range(2), "Choose 3 to 10 photos of two photos, not 2."),
        ("eleven photos", range(11), "not 11"),
        ("Red disc", range(3), "already knows 'Red disc'"),
        ("copies", [0, 1, 1], "Choose at least 3 different photos."),
        ("a broken file", [0, "broken", 1], "Photo 2: "),
    ],
)
def test_bad_input_is_explained(open_tab, place, label, photos, message):
    page = open_tab()
    send(page, place, label, photos)
    expect(page.locator(".toast-body")).to_contain_text(message)
    expect(page.locator("#lesson h2")).to_have_count(0)


def test_a_name_is_shown_as_text(open_tab, place):
    page = open_tab()
    send(page, place, "<img src=x onerror=alert(1)>")
    taught(page, "<img src=x onerror=alert(1)>")
    expect(page.locator("#lesson img")).to_have_count(0)


def test_touch_targets_are_44_pixels_high(open_tab, place):
    page = open_tab(**PHONE)
    send(page, place)
    try_photo(taught(page), place, 11).wait_for()
    page.set_input_files("#teach-photos input[type=file]", [place / "1.png", place / "2.png"])
    expect(page.locator("#teach-photos tr")).to_have_count(2)
    targets = page.locator(".tabitem :is(button, a, input:not([type=file])):visible")
    heights = [target.bounding_box()["height"] for target in targets.all()]
    assert len(heights) >= 10 and min(heights) >= 44, heights


@pytest.mark.parametrize(("name", "options"), [("laptop", {}), ("phone", PHONE)])
def test_axe_finds_nothing_and_it_fits_the_screen(open_tab, place, shoot, name, options):
    page, found = open_tab(**options), []

    def look(what):
        for scheme in ("light", "dark"):
            found.extend(findings(page, scheme))
            shoot(page, f"teach {name} {scheme} {what}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    look("empty")
    send(page, place, label="")
    page.locator(".toast-body").wait_for()
    look("error")
    page.locator("#teach-photos").get_by_label("Clear").click()
    send(page, place)
    expect(try_photo(taught(page), place, 11)).to_have_text(NEW)
    look("taught")
    assert found == []


def test_a_model_without_references_has_no_such_tab(page):
    expect(page.get_by_role("tab", name="About")).to_be_visible()
    expect(page.get_by_role("tab", name="Teach")).to_have_count(0)
