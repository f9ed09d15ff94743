"""The upload boxes of the tabs "Many photos" and "Teach"."""

import zipfile

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
KEEP_UPLOAD = """() => {
  const send = window.fetch;
  window.fetch = async (url, options) => {
    if (String(url).includes("/upload?")) {
      const picture = await createImageBitmap(options.body.get("files"));
      window.uploaded = [picture.width, picture.height];
    }
    return send(url, options);
  };
}"""


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


def test_the_box_takes_the_next_photos_and_keeps_the_focus(many, flower_photo):
    many.on("filechooser", lambda _: None)  # or the first chooser opens before the handler exists
    tab_to(many, "#files button")
    for count in (1, 2):
        choose_by_enter(many, *[flower_photo] * count)
        expect(photos(many)).to_have_count(count)
        expect(many.locator("#files button:visible")).to_be_focused()


def test_a_dropped_folder_is_read(many, flower_photo, tmp_path):
    (tmp_path / "trip/day 1").mkdir(parents=True)
    for name in ("a.jpg", ".hidden.jpg", "day 1/b.jpg"):
        (tmp_path / "trip" / name).write_bytes(flower_photo.read_bytes())
    drop_file(many, tmp_path / "trip")
    expect(many.locator("#results figcaption span")).to_have_text(["a.jpg", "b.jpg"])


def drop_file(page, path):
    """Drop a file or folder as the system does: one made by a script can't be a folder."""
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 500, "y": 100, "data": data})


def test_photos_are_shrunk_before_the_upload_and_keep_their_names(many, tmp_path):
    photo = noisy_photo(tmp_path / "large.png", (4000, 3000))
    many.evaluate(KEEP_UPLOAD)
    send_many(many, photo)
    assert many.evaluate("window.uploaded") == [1280, 960]
    expect(photos(many)).to_contain_text("large.png")


def test_a_photo_without_a_type_is_known_by_its_suffix(many, flower_photo):
    many.locator("#files").evaluate(DROP, as_argument(flower_photo, name="photo.heic", type=""))
    expect(photos(many)).to_contain_text("photo.heic")


def test_superseded_photos_are_not_answered(many, flower_photo, tmp_path):
    archive, held = tmp_path / "many.zip", []
    with zipfile.ZipFile(archive, "w") as zipped:
        for number in range(200):
            zipped.write(flower_photo, f"{number}.jpg")
    many.set_input_files("#files input[type=file]", str(archive))
    many.locator("#summary progress").wait_for()
    many.route(UPLOADS, lambda route: held.append(route), times=1)
    many.evaluate("""() => new MutationObserver(() => {
      window.seen = (window.seen ?? "") + document.querySelector("#summary").innerText.trim();
    }).observe(document.querySelector("#results"), { subtree: true, childList: true })""")
    many.locator("#files").evaluate(DROP, as_argument(flower_photo))
    many.get_by_text("Uploading 1 file").wait_for()
    assert not many.evaluate("window.seen")
    held[0].continue_()
    expect(many.locator("#summary")).to_contain_text("1 photo identified as 1 flower.")
    expect(photos(many)).to_have_count(1)


def test_a_file_that_is_too_large_does_not_cost_the_others(many, flower_photo, tmp_path):
    small = tmp_path / "small.png"
    Image.new("RGB", (64, 64), "red").save(small)
    many.evaluate("window.gradio_config.max_file_size = 1000")
    many.set_input_files("#files input[type=file]", [str(flower_photo), str(small)])
    expect(photos(many)).to_contain_text(["small.png"])
    note = many.get_by_role("alert")
    expect(note).to_have_text("Left out, because a file may have at most 0.001 MB: dahlia.jpg")
    many.set_input_files("#files input[type=file]", str(small))
    expect(note).to_be_hidden()


def test_a_drop_during_an_upload_is_not_lost(many, flower_photo):
    held = []
    many.route(UPLOADS, lambda route: held.append(route), times=1)
    many.locator("#files").evaluate(DROP, as_argument(flower_photo))
    expect(many.locator("#files input[type=file]")).to_have_count(0)
    many.locator("#files").evaluate(DROP, as_argument(flower_photo, copies=2))
    many.wait_for_timeout(300)
    held[0].continue_()
    expect(photos(many)).to_have_count(2)


def test_a_server_that_can_t_be_reached_is_reported(many, flower_photo):
    many.route(UPLOADS, lambda route: route.abort())
    many.set_input_files("#files input[type=file]", str(flower_photo))
    expect(many.locator(".toast-body")).to_contain_text("The server can't be reached.")


def test_a_file_of_another_type_is_refused_and_the_box_takes_the_next(many, flower_photo, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no photo")
    many.set_input_files("#files input[type=file]", str(text))
    expect(many.locator(".toast-body")).to_contain_text("Invalid file type: notes.txt.")
    send_many(many, flower_photo)


def test_a_refused_request_leaves_an_empty_box(many, flower_photo):
    refusal = {"status": 429, "json": {"detail": "You are sending requests too fast."}}
    many.route("**/queue/join?*", lambda route: route.fulfill(**refusal), times=1)
    many.set_input_files("#files input[type=file]", str(flower_photo))
    expect(many.locator(".toast-body")).to_contain_text("You are sending requests too fast.")
    send_many(many, flower_photo)
