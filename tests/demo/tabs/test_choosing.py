"""Ways to choose a photo in the tab "Identify", each of which sends exactly one request."""

import pytest
from playwright.sync_api import expect

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from tests.support.browsing import DROP, PASTE, PHONE, as_argument, name, upload


@pytest.fixture
def requests(page):
    """The REST requests of the page."""
    sent = []
    page.on("request", lambda r: sent.append(r) if "/api/identify" in r.url else None)
    return sent


def test_by_the_button(page, requests, flower_photo, label):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a photo").click()
    chooser.value.set_files(str(flower_photo))
    expect(name(page)).to_have_text(label)
    assert len(requests) == 1


@pytest.mark.parametrize("target", ["#photo .stage", "#title"])
def test_by_drop_on_the_box_or_anywhere(page, requests, flower_photo, label, target):
    page.locator(target).first.evaluate(DROP, as_argument(flower_photo))
    expect(name(page)).to_have_text(label)
    assert len(requests) == 1


def test_several_dropped_photos_show_one_plant(page, requests, flower_photo):
    page.locator("#title").first.evaluate(DROP, as_argument(flower_photo, copies=3))
    expect(name(page)).to_have_count(1)
    expect(page.locator("#photo .thumbnails button")).to_have_count(3)
    assert [request.url.rpartition("/")[2] for request in requests] == ["identify_plant"]


def test_dropped_photos_of_a_format_that_the_system_does_not_know(page, flower_photo):
    argument = as_argument(flower_photo, copies=2, name="photo.HEIC", type="")
    page.locator("#title").first.evaluate(DROP, argument)
    expect(page.locator("#photo .thumbnails button")).to_have_count(2)


def test_more_photos_than_a_plant_may_have_are_not_sent(page, requests, flower_photo):
    page.locator("#title").first.evaluate(DROP, as_argument(flower_photo, copies=6))
    expect(page.locator("#answer .error")).to_contain_text("up to 5 photos of one plant")
    assert requests == []


@pytest.mark.parametrize("target", ["body", "#title", "#photo .choose >> nth=0"])
def test_by_paste(page, requests, flower_photo, label, target):
    page.locator(target).evaluate(PASTE, as_argument(flower_photo))
    expect(name(page)).to_have_text(label)
    assert len(requests) == 1


def test_by_the_webcam(open_page):
    page = open_page(permissions=["camera"])
    page.get_by_role("button", name="Use the camera").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_role("button", name="Take the photo").click()
    expect(name(page)).to_have_count(1)
    expect(page.locator("#photo video")).to_be_hidden()


def test_by_the_webcam_after_another_photo(open_page, flower_photo):
    page = open_page(permissions=["camera"])
    upload(page, flower_photo)
    name(page).wait_for()
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_alt_text("Your photo")).to_be_hidden()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_alt_text("Your photo")).to_be_visible()
    page.get_by_role("button", name="Use the camera").click()
    video = "document.querySelector('#photo video')"
    page.wait_for_function(f"{video}.srcObject.active && {video}.videoWidth > 0")
    with page.expect_request("**/api/identify"):
        page.get_by_role("button", name="Take the photo").click()
    expect(page.get_by_alt_text("Your photo")).to_be_visible()


def test_controls_of_the_old_plant_go_while_a_new_photo_is_read(page, flower_photo):
    page.locator("#title").first.evaluate(DROP, as_argument(flower_photo, copies=2))
    page.get_by_role("button", name="Show heatmap").click()
    page.evaluate("() => { window.createImageBitmap = () => new Promise(() => {}); }")
    upload(page, flower_photo)
    for control in (".heatmap", ".legend", ".thumbnails", ".remove"):
        expect(page.locator(f"#photo {control}")).to_be_hidden()


def test_the_webcam_stops_with_another_tab_or_photo(open_page, flower_photo):
    page = open_page(permissions=["camera"])
    is_live = "document.querySelector('#photo video').srcObject?.active"

    def start():
        page.get_by_role("button", name="Use the camera").click()
        page.wait_for_function(is_live)

    start()
    page.get_by_role("tab", name="About").click()
    page.wait_for_function(f"!{is_live}")
    page.get_by_role("tab", name="Identify").click()
    start()
    page.locator("#title").first.evaluate(DROP, as_argument(flower_photo))
    page.wait_for_function(f"!{is_live}")
    expect(page.locator("#photo video")).to_be_hidden()
    expect(name(page)).to_have_count(1)


def test_the_webcam_stays_off_if_the_visitor_left_the_tab_before_allowing_it(open_page):
    page = open_page(permissions=["camera"])
    page.evaluate("""() => {
        const start = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wish) => {
            await new Promise((resolve) => (window.allow = resolve));
            return (window.stream = await start(wish));
        };
    }""")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("tab", name="About").click()
    page.evaluate("allow()")
    page.wait_for_function("window.stream?.active === false")


def test_a_phone_has_one_button_for_camera_and_album(open_page):
    android = "Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 Chrome/140.0.0.0 Mobile"
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, user_agent=android)
    expect(page.get_by_role("button", name="Use the camera")).to_have_count(0)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take or choose a photo").click()
    assert chooser.value.element.get_attribute("capture") is None  # which would hide the album
    assert "android/allowCamera" in chooser.value.element.get_attribute("accept")


@pytest.fixture
def dahlias(open_page, launch, tiny_model):
    """The page of a model that knows the flower in the sample photos."""
    labels = tuple(f"dahlia {number}" for number in range(5))
    model = FlowerClassifier(tiny_model.network, ModelConfig("test_resnet", labels), device="cpu")
    return open_page(launch(model, "dahlias"))


def test_by_a_sample_photo(dahlias):
    dahlias.get_by_role("button", name="A dahlia").click()
    expect(name(dahlias)).to_contain_text("dahlia")


def test_a_sample_that_arrives_late_does_not_replace_a_chosen_photo(dahlias, flower_photo):
    held, sent = [], []
    dahlias.route("**/samples/**", lambda route: held.append(route))
    with dahlias.expect_request("**/samples/**"):
        dahlias.get_by_role("button", name="A dahlia").click()
    upload(dahlias, flower_photo)
    name(dahlias).wait_for()
    dahlias.on("request", lambda request: sent.append(request.url))
    with dahlias.expect_response("**/samples/**"):
        held[0].continue_()
    dahlias.wait_for_timeout(300)
    assert [url for url in sent if "/api/identify" in url] == []


def test_each_sample_names_its_author_and_licence(dahlias):
    captions = dahlias.locator(".samples figcaption")
    expect(captions).to_have_text(["vultilion, CC BY 2.0", "danielbuechele, CC BY 2.0"])
    links = captions.get_by_role("link")
    expect(links).to_have_count(2)
    for link in links.all():
        assert link.inner_text().split(",")[0] in link.get_attribute("href")


def test_a_model_that_does_not_know_the_samples_offers_none(page):
    expect(page.locator(".sample")).to_have_count(0)


def test_another_photo_is_chosen_with_one_button(page, flower_photo, label):
    upload(page, flower_photo)
    expect(name(page)).to_have_text(label)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose another photo").click()
    chooser.value.set_files(str(flower_photo))
    expect(name(page)).to_have_text(label)


def test_the_old_answer_disappears_when_a_new_photo_is_chosen(page, flower_photo, tmp_path):
    upload(page, flower_photo)
    name(page).wait_for()
    page.route("**/api/identify", lambda route: None)  # never answers
    upload(page, flower_photo)
    expect(page.locator("#answer")).to_have_text("Identifying …")
    expect(name(page)).to_have_count(0)
