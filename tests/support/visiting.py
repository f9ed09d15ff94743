"""What a visitor does with the page: sends a photo and reads what it is called."""


def upload(page, photo):
    page.set_input_files("#photo input[type=file]", str(photo))


def name(page):
    return page.locator("#answer h2")
