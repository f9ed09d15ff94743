"""Actions of a visitor on the page."""


def upload(page, photo):
    page.set_input_files("#photo input[type=file]", str(photo))


def name(page):
    return page.locator("#answer h2")
