"""Several photos of one plant in the tab "Identify"."""

import pytest
from PIL import Image, ImageEnhance
from playwright.sync_api import expect

from tests.support.browsing import name, upload


@pytest.fixture
def tiff(tmp_path, flower_photo):
    """The photo in a format that the browser can't show."""
    path = tmp_path / "dahlia.tiff"
    with Image.open(flower_photo) as picture:
        picture.save(path)
    return path


@pytest.fixture
def darker(tmp_path, flower_photo):
    """Six more photos of the flower, each darker than the one before."""
    paths = [tmp_path / f"{number}.jpg" for number in range(6)]
    with Image.open(flower_photo) as picture:
        for number, path in enumerate(paths):
            ImageEnhance.Brightness(picture).enhance(0.97 - 0.03 * number).save(path)
    return paths


def add(page, *photos):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add another photo of this plant").click()
    chooser.value.set_files([str(photo) for photo in photos])


def thumbnails(page):
    return page.locator("#photo .thumbnails button")


def test_a_photo_is_added_and_the_plant_gets_one_answer(page, flower_photo, darker, label):
    upload(page, flower_photo)
    expect(name(page)).to_have_text(label)
    expect(thumbnails(page)).to_have_count(0)
    with page.expect_request("**/api/identify_plant"):
        add(page, darker[0])
    expect(name(page)).to_have_text(label)
    expect(page.locator("#answer .probability")).to_contain_text("from 2 photos")
    expect(thumbnails(page)).to_have_count(2)


def test_a_photo_that_is_added_again_counts_once(page, flower_photo):
    upload(page, flower_photo)
    alone = page.locator("#answer .probability b").inner_text()
    add(page, flower_photo)
    expect(page.locator("#answer .probability")).to_contain_text(f"{alone} ·")
    expect(page.locator("#answer .probability")).to_contain_text("from 1 photo")
    expect(thumbnails(page)).to_have_count(2)


def test_a_thumbnail_shows_its_photo_with_its_heatmap(page, flower_photo, tiff, label):
    upload(page, flower_photo)
    name(page).wait_for()
    add(page, tiff)
    expect(page.locator("#answer .probability")).to_contain_text("from 2 photos")
    assert page.get_by_alt_text("Your photo").get_attribute("src").startswith("data:")
    page.get_by_role("button", name="Photo 1", exact=True).click()
    assert page.get_by_alt_text("Your photo").get_attribute("src").startswith("blob:")
    expect(page.get_by_role("button", name="Photo 1", exact=True)).to_be_focused()
    page.get_by_role("button", name="Show heatmap").click()
    expect(page.get_by_alt_text(f"Heatmap for {label}")).to_be_visible()


def test_a_thumbnail_keeps_the_focus_when_the_answer_arrives(page, flower_photo, darker):
    upload(page, flower_photo)
    name(page).wait_for()
    held = []
    page.route("**/api/identify_plant", lambda route: held.append(route))
    with page.expect_request("**/api/identify_plant"):
        add(page, darker[0])
    first = page.get_by_role("button", name="Photo 1", exact=True)
    first.focus()
    held[0].continue_()
    expect(page.locator("#answer .probability")).to_contain_text("from 2 photos")
    expect(first).to_be_focused()


def test_up_to_five_photos_can_be_added_at_once(page, flower_photo, darker):
    upload(page, flower_photo)
    name(page).wait_for()
    add(page, *darker)
    expect(page.locator("#answer .probability")).to_contain_text("from 5 photos")
    expect(thumbnails(page)).to_have_count(5)
    expect(page.locator("#photo .add")).to_be_hidden()
    expect(page.get_by_text("You can add up to 5 photos of one plant.")).to_be_visible()


def test_a_photo_can_be_removed_again(page, flower_photo, label):
    upload(page, flower_photo)
    name(page).wait_for()
    add(page, flower_photo)
    expect(thumbnails(page)).to_have_count(2)
    page.get_by_role("button", name="Remove this photo").click()
    expect(name(page)).to_have_text(label)
    expect(page.locator("#answer .probability")).not_to_contain_text("from")
    expect(thumbnails(page)).to_have_count(0)


def test_another_photo_begins_another_plant(page, flower_photo, label):
    upload(page, flower_photo)
    name(page).wait_for()
    add(page, flower_photo)
    expect(thumbnails(page)).to_have_count(2)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose another photo").click()
    assert not chooser.value.is_multiple()
    chooser.value.set_files(str(flower_photo))
    expect(name(page)).to_have_text(label)
    expect(thumbnails(page)).to_have_count(0)


def test_a_file_that_is_not_a_photo_is_named_and_can_be_removed(
    page, flower_photo, label, tmp_path
):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff broken")
    upload(page, flower_photo)
    name(page).wait_for()
    add(page, broken)
    expect(page.locator("#answer .error")).to_contain_text("Photo 2: ")
    page.get_by_role("button", name="Remove this photo").click()
    expect(name(page)).to_have_text(label)
