"""The page behind --auth: its log-in page."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from flower_model.demo.theme import TITLE
from tests.support.browsing import PHONE, open_many
from tests.support.commands import Served


@pytest.fixture(scope="module")
def guarded(tiny_folder):
    with Served("--model", tiny_folder, "--auth", "flora:s3:cret") as page:
        yield page


@pytest.fixture(params=["light", "dark"])
def login(request, browser, guarded):
    context = browser.new_context(viewport=PHONE, color_scheme=request.param)
    page = context.new_page()
    page.goto(guarded.url)
    yield page
    context.close()


def log_in(page, password):
    page.get_by_label("User name").fill("flora")
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def test_the_right_password_opens_the_page_and_a_wrong_one_is_reported(login, shoot):
    expect(login.get_by_role("heading", name=TITLE)).to_be_visible()
    log_in(login, "wrong")
    expect(login.get_by_role("alert")).to_have_text("The user name or the password is wrong.")
    assert Axe().run(login).response["violations"] == []
    shoot(login, "login")
    log_in(login, "s3:cret")
    expect(login.get_by_role("tab", name="Identify")).to_be_visible()


@pytest.mark.parametrize("ends", ["before the upload", "after the upload"])
def test_photos_sent_after_the_session_are_refused_in_one_sentence(login, flower_photo, ends):
    log_in(login, "s3:cret")
    open_many(login)

    def end_session(route):
        answer = route.fetch()
        login.context.clear_cookies()
        route.fulfill(response=answer)

    if ends == "before the upload":
        login.context.clear_cookies()
    else:
        login.route("**/gradio_api/upload?*", end_session)
    login.set_input_files("#files input[type=file]", str(flower_photo))
    message = login.get_by_test_id("toast-body")
    expect(message).to_contain_text("Your session has expired. Reload the page and log in again.")
    expect(message).not_to_contain_text("{")


def test_the_login_page_says_nothing_about_the_model(login):
    assert "gradio" not in login.content() and "named_endpoints" not in login.content()
