"""Accessibility of the whole page, as axe judges it."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.browsing import LAPTOP, PHONE, name, open_many, send_many, upload


def test_axe_finds_nothing(page, flower_photo, tmp_path, shoot):
    not_a_photo = tmp_path / "text.txt"
    not_a_photo.write_text("no photo")
    found = []

    def look(what):
        for scheme in ("light", "dark"):
            found.extend(findings(page, scheme))
            shoot(page, f"{scheme} {what}")

    look("empty")
    upload(page, flower_photo)
    name(page).wait_for()
    look("answer")
    page.get_by_role("button", name="Show heatmap").click()
    look("heatmap")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add another photo of this plant").click()
    chooser.value.set_files(str(flower_photo))
    page.get_by_role("button", name="Photo 2", exact=True).wait_for()
    name(page).wait_for()
    look("plant")
    open_many(page)
    send_many(page, flower_photo)
    look("many")
    page.set_input_files("#files input[type=file]", str(not_a_photo))
    page.locator(".toast-body").wait_for()
    look("error")
    page.get_by_role("tab", name="About").click()
    page.locator("#names summary").click()
    page.get_by_label("Search").wait_for()
    look("about")
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_axe_finds_nothing_in_the_api_s_description(browser, served, scheme, screen):
    context = browser.new_context(viewport=screen, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{served.url}api")
    assert Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def findings(page, scheme):
    """Return all findings of axe, in a "light" or "dark" scheme."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "(dark) => document.body.classList.contains('dark') === dark", arg=scheme == "dark"
    )
    page.wait_for_timeout(400)  # until fading elements have their full contrast
    return [
        (scheme, violation["id"], [node["html"][:200] for node in violation["nodes"]])
        for violation in Axe().run(page).response["violations"]
    ]
