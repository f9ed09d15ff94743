"""A visitor's screens and actions on the page."""

LAPTOP, PHONE = {"width": 1160, "height": 900}, {"width": 360, "height": 740}


def upload(page, photo):
    page.set_input_files("#photo input[type=file]", str(photo))


def name(page):
    return page.locator("#answer h2")


def tab_to(page, selector, back=False):
    """Press the Tab key, or with Shift, until an element has the focus, visibly."""
    for _ in range(40):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"the Tab key does not reach {selector}")


def choose_by_enter(page, *files):
    """Press Enter on a button that asks for files."""
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([str(file) for file in files])


def open_many(page):
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#files input[type=file]").wait_for(state="attached")


def send_many(page, *files):
    page.set_input_files("#files input[type=file]", [str(file) for file in files])
    page.locator("#summary .csv").wait_for()
