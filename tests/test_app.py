"""app.py: a page that answers people and programs, and says in one sentence what it can't do."""

import shutil
import signal
import socket
import urllib.request
from itertools import pairwise

import pytest
from conftest import BOTANICAL, assert_one_sentence, free_port
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import expect, sync_playwright

from flower_model import FlowerClassifier
from flower_model.cli import WEIGHTS
from flower_model.config import ModelConfig
from flower_model.demo import PAGE, TITLE, build_demo

NO_PROXY = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


@pytest.fixture(scope="module")
def served(serve_app, tiny_folder):
    return serve_app("--model", tiny_folder)


@pytest.fixture(scope="module")
def client(served):
    return Client(served.url, verbose=False)


@pytest.fixture
def not_a_photo(tmp_path):
    path = tmp_path / "<b>rose.jpg"
    path.write_text("<b>no photo</b>")
    return path


# For programs


def test_identify_gives_the_five_most_probable_labels(client, tiny_model, flower_photo):
    answer = client.predict(handle_file(flower_photo), api_name="/identify")
    expected = tiny_model.predict(flower_photo)
    assert answer["label"] == expected.label
    assert {entry["label"] for entry in answer["confidences"]} == set(BOTANICAL)
    chances = [entry["confidence"] for entry in answer["confidences"]]
    assert all(first >= second for first, second in pairwise(chances))
    assert chances[0] == pytest.approx(expected.probability, abs=0.02)


def test_identify_is_the_only_endpoint(client):
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/identify"]


def test_identify_tells_a_program_what_is_wrong_with_its_photo(client, not_a_photo):
    with pytest.raises(AppError, match="^The file is not a photo that can be opened"):
        client.predict(handle_file(not_a_photo), api_name="/identify")


def test_identify_refuses_a_photo_that_is_cut_short(client, flower_photo, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(flower_photo.read_bytes()[:20_000])
    with pytest.raises(AppError, match="damaged or cut short"):
        client.predict(handle_file(cut), api_name="/identify")


# For people


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium to open the page with")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.set_default_timeout(20_000)
    page.goto(served.url)
    page.locator("input[type=file]").wait_for(state="attached")
    yield page
    page.close()


def upload(page, photo):
    page.set_input_files("input[type=file]", str(photo))


def test_the_page_answers_a_photo_without_a_button(page, tiny_model, flower_photo):
    upload(page, flower_photo)
    label = tiny_model.predict(flower_photo).label
    expect(page.locator("#answer h2")).to_have_text(label)
    expect(page.locator("#answer i")).to_have_text(BOTANICAL[label])
    expect(page.locator("#answer b")).to_contain_text("%")
    expect(page.locator("#top dt")).to_have_count(5)


def test_clearing_the_photo_clears_the_answer(page, flower_photo):
    upload(page, flower_photo)
    page.locator("#answer h2").wait_for()
    page.get_by_label("Clear").or_(page.get_by_label("Remove Image")).first.click()
    expect(page.locator("#answer h2")).to_have_count(0)
    expect(page.locator("#top dt")).to_have_count(0)


def test_a_file_that_is_no_photo_gets_a_one_sentence_notice(page, flower_photo, not_a_photo):
    upload(page, not_a_photo)
    notice = page.locator(".toast-body")
    expect(notice).to_contain_text(
        "The file is not a photo that can be opened: use a JPEG, PNG, WebP, AVIF or HEIC file."
    )
    assert "Traceback" not in page.content()
    expect(page.locator("#answer h2")).to_have_count(0)
    expect(page.get_by_text("Drop a photo of a flower here")).to_be_visible()
    upload(page, flower_photo)  # and the page goes on answering
    expect(page.locator("#answer h2")).to_have_count(1)


def test_the_page_fits_a_narrow_phone(page, flower_photo):
    upload(page, flower_photo)
    page.locator("#answer h2").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_page_asks_nobody_but_its_server(browser, served):
    page = browser.new_page()
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.goto(served.url)
    page.locator("input[type=file]").wait_for(state="attached")
    page.wait_for_load_state("load")
    assert page.title() == TITLE
    assert hosts <= {served.url.split("/")[2], ""}  # "" is a data: or blob: address
    page.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")  # its use of pandas
def test_labels_are_shown_as_text(browser, tiny_model, flower_photo):
    label = "<img src=x onerror=document.title=1> ${1+1} {{value}} *rose*"
    best = tiny_model.labels.index(tiny_model.predict(flower_photo).label)
    labels = tuple(label if index == best else str(index) for index in range(5))
    config = ModelConfig("test_resnet", labels, {label: label})
    demo = build_demo(FlowerClassifier(tiny_model.network, config, device="cpu"), label)
    demo.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True, **PAGE)
    page = browser.new_page()
    page.goto(demo.local_url)
    upload(page, flower_photo)
    expect(page.locator("#top dt", has_text=label)).to_have_count(1)
    expect(page.locator("#answer h2")).to_have_text(label)
    expect(page.locator("#answer i")).to_have_text(label)
    expect(page.locator("#model")).to_contain_text(label)
    assert page.title() == TITLE
    page.close()
    demo.close(verbose=False)


# As a command


def test_it_prints_one_line_and_stops_cleanly(serve_app, tiny_folder):
    served = serve_app("--model", tiny_folder)
    assert served.lines == [f"The page is at {served.url} (Ctrl-C stops it)."]
    served.process.send_signal(signal.SIGINT)
    code, errors = served.stop()
    assert code == 0 and errors == ""


def test_without_a_public_link_it_says_so_and_serves_locally(serve_app, tiny_folder, flower_photo):
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    served = serve_app("--model", tiny_folder, "--share", **nowhere, **NO_PROXY)
    client = Client(served.url, verbose=False)
    assert client.predict(handle_file(flower_photo), api_name="/identify")["label"]
    code, errors = served.stop()
    assert code == 0
    assert len(errors.splitlines()) == 1 and "There is no public link" in errors


def test_auth_lets_in_only_who_knows_the_password(serve_app, tiny_folder, flower_photo):
    served = serve_app("--model", tiny_folder, "--auth", "flora:s3:cret")
    with pytest.raises(urllib.request.HTTPError) as refused:
        urllib.request.urlopen(served.url + "config")
    assert refused.value.code == 401
    client = Client(served.url, auth=("flora", "s3:cret"), verbose=False)
    assert client.predict(handle_file(flower_photo), api_name="/identify")["label"]


@pytest.mark.parametrize("credentials", ["flora", "flora:", ":secret", ""])
def test_malformed_auth_is_refused(run_script, credentials):
    assert_one_sentence(run_script("app.py", "--auth", credentials), "USER:PASS")


def test_a_port_in_use_is_told(run_script, tiny_folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_script("app.py", "--model", tiny_folder, "--port", port)
    assert_one_sentence(result, port, "in use")


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_that_cannot_be_one_is_refused(run_script, port):
    assert_one_sentence(run_script("app.py", "--port", port), "between 1 and 65535")


def test_a_host_that_is_not_this_computer_is_told(run_script):
    assert_one_sentence(run_script("app.py", "--host", "192.0.2.1"), "192.0.2.1")


def test_an_unknown_model_folder_is_named(run_script, tmp_path):
    result = run_script("app.py", "--model", tmp_path / "nowhere", "--port", free_port())
    assert_one_sentence(result, "no model folder", tmp_path)


def test_a_hub_that_cannot_be_reached_is_told(run_script, tmp_path):
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    result = run_script("app.py", "--model", "somebody/flowers", **hub, **NO_PROXY)
    assert_one_sentence(result, "somebody/flowers", "can't be reached")


def test_the_shipped_model_answers_by_default(serve_app, flower_photo):
    if not (WEIGHTS / "model.safetensors").exists():
        pytest.skip("weights/ holds no model.safetensors")
    client = Client(serve_app().url, verbose=False)
    answer = client.predict(handle_file(flower_photo), api_name="/identify")
    assert answer["label"] and len(answer["confidences"]) == 5
