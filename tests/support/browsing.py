"""Actions of a visitor on the page."""


def upload(page, photo):
    page.set_input_files("#photo input[type=file]", str(photo))


def name(page):
    return page.locator("#answer h2")


def open_many(page):
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#files input[type=file]").wait_for(state="attached")


def send_many(page, *files):
    page.set_input_files("#files input[type=file]", [str(file) for file in files])
    page.locator("#summary .csv").wait_for()
