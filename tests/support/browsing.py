"""A visitor's screens and actions on the page."""

import base64

import numpy as np
from PIL import Image

LAPTOP, PHONE = {"width": 1160, "height": 900}, {"width": 360, "height": 740}
# For `evaluate`, with `as_argument`.
DROP = """(element, [content, name, copies, type]) => {
  const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
  const transfer = new DataTransfer();
  for (let i = 0; i < copies; i++)
    transfer.items.add(new File([bytes], name, { type }));
  const options = { bubbles: true, cancelable: true };
  element.dispatchEvent(new DragEvent("drop", { ...options, dataTransfer: transfer }));
}"""
PASTE = DROP.replace('new DragEvent("drop"', 'new ClipboardEvent("paste"').replace(
    "dataTransfer:", "clipboardData:"
)


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


def as_argument(photo, copies=1, name="", type="image/jpeg"):
    """Return the argument of `DROP` or `PASTE`."""
    content = base64.b64encode(photo.read_bytes()).decode()
    return [content, name or photo.name, copies, type]


def noisy_photo(path, size, **options):
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    Image.fromarray(noise).resize(size).save(path, **options)
    return path
