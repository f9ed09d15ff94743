"""The upload boxes of the tabs "Many photos" and "Teach"."""

import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.browsing import (
    DROP,
    PASTE,
    as_argument,
    choose_by_enter,
    noisy_photo,
    open_many,
    send_many,
    tab_to,
)

UPLOADS = "**/gradio_api/upload?*"


@pytest.fixture
def many(page):
    open_many(page)
    return page


def photos(page):
    return page.locator("#results figure")


@pytest.mark.parametrize("action", [DROP, PASTE], ids=["drop", "paste"])
@pytest.mark.parametrize("target", ["#files", "#title"])
def test_photos_can_be_dropped_or_pasted_anywhere(many, flower_photo, action, target):
    many.locator(target).evaluate(action, as_argument(flower_photo, copies=2))
    expect(photos(many)).to_have_count(2)


def test_photos_can_be_added_with_the_mouse_the_keyboard_or_by_a_drop(many, flower_photo):
    many.on("filechooser", lambda _: None)  # or the first chooser opens before the handler exists
    send_many(many, flower_photo)
    with many.expect_file_chooser() as chooser:
        many.get_by_role("button", name="Add files").click()
    chooser.value.set_files(str(flower_photo))
    expect(photos(many)).to_have_count(2)
    tab_to(many, "#files button[title='Add files']", back=True)
    choose_by_enter(many, flower_photo)
    expect(photos(many)).to_have_count(3)
    many.locator("#results").evaluate(DROP, as_argument(flower_photo))
    expect(photos(many)).to_have_count(4)


def test_photos_are_shrunk_before_the_upload_and_keep_their_names(many, tmp_path):
    photo = noisy_photo(tmp_path / "large.png", (4000, 3000))
    send_many(many, photo)
    sent = many.request.get(many.locator("#files a").get_attribute("href")).body()
    with Image.open(io.BytesIO(sent)) as picture:
        assert picture.format == "JPEG" and picture.size == (1280, 960)
    expect(photos(many)).to_contain_text("large.png")


def test_a_photo_without_a_type_is_known_by_its_suffix(many, flower_photo):
    many.locator("#files").evaluate(DROP, as_argument(flower_photo, name="photo.heic", type=""))
    expect(photos(many)).to_contain_text("photo.heic")


def test_the_previous_answers_go_before_the_upload(many, flower_photo):
    send_many(many, flower_photo)
    many.route(UPLOADS, lambda route: None)  # an upload that never ends
    many.locator("#files").evaluate(DROP, as_argument(flower_photo))
    expect(photos(many)).to_have_count(0)
    expect(many.locator("#summary .csv")).to_have_count(0)


def test_a_drop_during_an_upload_is_not_lost(many, flower_photo):
    held = []
    many.route(UPLOADS, lambda route: held.append(route), times=1)
    many.locator("#files").evaluate(DROP, as_argument(flower_photo))
    expect(many.locator("#files input[type=file]")).to_have_count(0)
    many.locator("#files").evaluate(DROP, as_argument(flower_photo))
    many.wait_for_timeout(300)
    held[0].continue_()
    expect(photos(many)).to_have_count(2)


def test_a_server_that_can_t_be_reached_is_reported(many, flower_photo):
    many.route(UPLOADS, lambda route: route.abort())
    many.set_input_files("#files input[type=file]", str(flower_photo))
    expect(many.locator(".toast-body")).to_contain_text("The server can't be reached.")
