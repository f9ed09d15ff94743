"""Fixtures of the page: a browser, a page of its own server, a model that the test pauses."""

import faulthandler
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browsing import LAPTOP
from tests.support.commands import ROOT, free_port

# Imported by the fixtures that need them: most quick tests need none.
if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from flower_model import FlowerClassifier


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Headless Chromium with a fake webcam."""
    from playwright.sync_api import expect, sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium to open the page with")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    flags += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    expect.set_options(timeout=20_000)  # for slow machines
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def profile(browser) -> "BrowserContext":
    """The profile of a laptop's browser, which keeps the page's scripts between tests."""
    return browser.new_context(viewport=LAPTOP)


@pytest.fixture
def open_page(browser, profile, served) -> "Iterator[Callable[..., Page]]":
    """`open_page(color_scheme="dark")` opens the page for a visitor with a laptop's screen.

    The first visitor of a test uses `profile`. Others have a profile of their own, and so have those with
    options that a profile can't change, such as `is_mobile`.
    """
    opened = []

    def open_page(
        url: str = served.url,
        *,
        viewport: dict[str, int] = LAPTOP,
        color_scheme: str = "light",
        **options: object,
    ) -> "Page":
        alone = bool(options or opened)
        context = browser.new_context(viewport=viewport, **options) if alone else profile
        page = context.new_page()
        opened.append(context if alone else page)
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme)
        page.set_default_timeout(20_000)
        page.goto(url)
        page.locator("#photo input[type=file]").wait_for(state="attached")
        page.locator("html[data-page=ready]").wait_for(state="attached")
        return page

    yield open_page
    for page in opened:
        page.close()


@pytest.fixture
def serve_page(tmp_path, monkeypatch) -> Iterator[Callable[..., str]]:
    """`serve_page(identify, "name", queue=1)` serves a page in this process; returns its URL."""
    import uvicorn

    from flower_model.demo.page import build_demo  # imports Gradio, which few tests need
    from flower_model.demo.server.application import create_app
    from flower_model.demo.server.rate_limits import Limits

    servers = []

    def serve_page(identify, name: str, *, mcp: bool = False, **limits: object) -> str:
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
        app, _ = create_app(build_demo(identify, name), identify, Limits(**limits), mcp=mcp)
        port = free_port()
        config = uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        servers.append((server, thread))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{port}/"

    yield serve_page
    for server, thread in servers:
        server.should_exit = True
        thread.join(20)
        if thread.is_alive():
            faulthandler.dump_traceback(sys.__stderr__)
        assert not thread.is_alive(), "the server does not stop"


@pytest.fixture
def launch(serve_page) -> "Callable[[FlowerClassifier, str], str]":
    """`launch(model, "name")` serves the page of a model; returns its URL."""
    from flower_model.demo.identifier import PhotoIdentifier

    return lambda model, name: serve_page(PhotoIdentifier(model), name)


@pytest.fixture
def identifier(tiny_model):
    """A PhotoIdentifier that `resume.clear()` pauses and `error` makes fail."""
    from flower_model.demo.identifier import PhotoIdentifier

    class Controlled(PhotoIdentifier):
        def __init__(self, model):
            super().__init__(model)
            self.resume, self.error, self.photos = threading.Event(), None, []
            self.resume.set()

        def __call__(self, photo):
            self.photos.append(photo)
            assert self.resume.wait(60)
            if self.error:
                raise self.error
            return super().__call__(photo)

    controlled = Controlled(tiny_model)
    yield controlled
    controlled.resume.set()


@pytest.fixture
def serve_with_limits(serve_page, identifier, tmp_path) -> Callable[..., tuple[str, Path]]:
    """`serve_with_limits(queue=1)` serves a page; returns its URL and its upload folder."""
    return lambda **limits: (serve_page(identifier, "tiny", **limits), tmp_path / "uploads")


@pytest.fixture
def page(open_page) -> "Page":
    """The page as a new visitor sees it on a laptop."""
    return open_page()


@pytest.fixture(scope="session")
def shoot() -> "Callable[[Page, str], None]":
    """`shoot(page, "name")` saves a screenshot in tests/screenshots/."""
    folder = ROOT / "tests" / "screenshots"
    return lambda page, name: page.screenshot(path=folder / f"{name}.png", full_page=True) and None
