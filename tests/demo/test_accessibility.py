"""Accessibility of the whole page, as axe judges it."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.browsing import name, open_many, send_many, upload

# Serious or critical findings of axe in Gradio's own markup.
GRADIOS_OWN = {
    "nested-interactive": "gr.File's button to add more files holds a hidden file input",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_our_markup(open_page, flower_photo, scheme, shoot):
    page, found = open_page(color_scheme=scheme), []

    def look(what):
        shoot(page, f"{scheme} {what}")
        page.wait_for_timeout(400)  # until fading elements have their full contrast
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found.append((violation["id"], [node["html"][:200] for node in violation["nodes"]]))

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
    page.get_by_role("tab", name="About").click()
    page.locator("#names summary").click()
    page.get_by_label("Search").wait_for()
    look("about")
    assert [finding for finding in found if finding[0] not in GRADIOS_OWN] == []
