"""Accessibility of the whole page, as axe judges it."""

from axe_playwright_python.sync_playwright import Axe

from tests.support.browsing import name, open_many, send_many, upload

# Serious or critical findings of axe in Gradio's own markup.
GRADIOS_OWN = {
    "nested-interactive": "gr.File's button to add more files holds a hidden file input",
}


def test_axe_finds_nothing_serious_in_our_markup(page, flower_photo, shoot):
    found = []

    def look(what):
        for scheme in ("light", "dark"):
            found.extend(serious_findings(page, scheme))
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
    page.get_by_role("tab", name="About").click()
    page.locator("#names summary").click()
    page.get_by_label("Search").wait_for()
    look("about")
    assert found == []


def serious_findings(page, scheme):
    """Return the serious or critical findings of axe in our markup, in a "light" or "dark" scheme."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "(dark) => document.body.classList.contains('dark') === dark", arg=scheme == "dark"
    )
    page.wait_for_timeout(400)  # until fading elements have their full contrast
    return [
        (scheme, violation["id"], [node["html"][:200] for node in violation["nodes"]])
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical") and violation["id"] not in GRADIOS_OWN
    ]
