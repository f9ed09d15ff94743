"""What several test modules share: a small model, a photo, a Hub, a browser, the page."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import GRADIO_SETTINGS
from tests.support.commands import ROOT, Served, free_port, run

# huggingface_hub reads this once, when it is imported: no test reaches for the network by accident.
os.environ["HF_HUB_OFFLINE"] = "1"
# Compiled models are cached there.
CACHE = tempfile.TemporaryDirectory(prefix="flower-tests-", ignore_cleanup_errors=True)
os.environ["HF_ASSETS_CACHE"] = CACHE.name
os.environ.update(GRADIO_SETTINGS, GRADIO_TEMP_DIR=f"{CACHE.name}/gradio")

import timm
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sklearn.datasets import load_sample_image

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from tests.support.hub import HubServer

expect.set_options(timeout=20_000)  # a busy machine is no failure

# Fixtures that start a server or a process, and modules that train, compile networks or decode for long.
SLOW_FIXTURES = {
    "flower_data",
    "hub",
    "launch",
    "open_page_under",
    "run_module",
    "run_script",
    "serve_app",
}
SLOW_MODULES = [
    "cli/test_bulk",
    "results/test_results_file",
    "model/test_shipped_weights",
    "photos/test_untrusted_photos",
    "runtimes/test_compiled_cache",
    "test_packaging",
    "training/test_average",
    "training/test_calibrate",
    "training/test_evaluation",
    "training/test_freeze",
    "training/test_processes",
    "training/test_review",
    "training/test_survival",
    "training/test_training",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow, browser or photos by their module and fixtures."""
    slow = {ROOT / "tests" / f"{name}.py" for name in SLOW_MODULES}
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "browser" in fixtures:
            item.add_marker("browser")
        if "flower_data" in fixtures:
            item.add_marker("photos")
        if fixtures & SLOW_FIXTURES or item.path in slow:
            item.add_marker("slow")


BOTANICAL = {
    "daisy": "Bellis perennis",
    "dandelion": "Taraxacum officinale",
    "rose": "Rosa",
    "sunflower": "Helianthus annuus",
    "tulip": "Tulipa",
}


@pytest.fixture(scope="session")
def tiny_model() -> FlowerClassifier:
    """Five labels, random weights: fast, and always the same answers."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=5)
    config = ModelConfig("test_resnet", tuple(BOTANICAL), BOTANICAL, temperature=0.02)
    return FlowerClassifier(network, config, device="cpu")


@pytest.fixture(scope="session")
def tiny_folder(tiny_model, tmp_path_factory) -> Path:
    """The weights folder of `tiny_model`; a test that changes it works on a copy."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def flower_photo(tmp_path_factory) -> Path:
    """A JPEG of a dahlia, 640 x 427."""
    path = tmp_path_factory.mktemp("photo") / "dahlia.jpg"
    Image.fromarray(load_sample_image("flower.jpg")).save(path, quality=92)
    return path


@pytest.fixture(scope="session")
def label(tiny_folder, flower_photo) -> str:
    """What the served model calls the photo."""
    return FlowerClassifier.from_pretrained(tiny_folder).predict(flower_photo).label


@pytest.fixture(scope="session")
def flower_data() -> Path:
    """The folder of the flower photos that FLOWER_DATA names; without it the test is skipped."""
    if "FLOWER_DATA" not in os.environ:
        pytest.skip("FLOWER_DATA is not set to a folder of flower photos")
    return Path(os.environ["FLOWER_DATA"])


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub on loopback: `run_module("flower_model", …, **hub.environment(tmp_path, token))`."""
    with HubServer() as server:
        yield server


@pytest.fixture(scope="session")
def run_module() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_module("flower_model", "photo.jpg")` runs `python -m flower_model photo.jpg`."""
    return lambda module, *words, **env: run("-m", module, *words, env=env)


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_script("app.py", "--help")` runs `python app.py --help`."""
    return lambda script, *words, **env: run(str(ROOT / script), *words, env=env)


@pytest.fixture(scope="session")
def serve_app() -> Iterator[Callable[..., Served]]:
    """`serve_app("--share")` starts `python app.py --share` on a free port and waits for it."""
    started: list[Served] = []

    def serve(*words: object, host: str = "127.0.0.1", **env: str) -> Served:
        started.append(Served(*words, env=env, host=host))
        return started[-1]

    yield serve
    for served in started:
        served.stop()


@pytest.fixture(scope="session")
def served(serve_app, tiny_folder) -> Served:
    """The page on `tiny_model`, for every test that leaves it as it found it."""
    return serve_app("--model", tiny_folder, "--mcp")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, with a picture that moves for a webcam."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium to open the page with")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    flags += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, served) -> Iterator[Callable[..., Page]]:
    """`open_page(color_scheme="dark")` opens the page as a new visitor, on a laptop's screen."""
    contexts = []

    def open_page(url: str = served.url, **options: object) -> Page:
        contexts.append(browser.new_context(**{"viewport": LAPTOP, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.goto(url)
        page.locator("#photo input[type=file]").wait_for(state="attached")
        page.locator("html[data-page=ready]").wait_for(state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def launch() -> Iterator[Callable[..., str]]:
    """`launch(model, "name")` serves a model's page from this process; returns its address."""
    from flower_model.demo.page import build_demo  # imports Gradio, which most tests need not
    from flower_model.demo.theme import PAGE

    pages = []

    def launch(model: FlowerClassifier, name: str) -> str:
        pages.append(build_demo(model, name))
        pages[-1].launch(server_port=free_port(), prevent_thread_lock=True, quiet=True, **PAGE)
        return str(pages[-1].local_url)

    yield launch
    for page in pages:
        page.close(verbose=False)


@pytest.fixture
def find(tiny_model):
    """Asks `tiny_model`, and can be held up by `find.go_on.clear()`, or made to fail by `find.error`."""
    from flower_model.demo.inference import Finder

    class Gated(Finder):
        def __init__(self, model):
            super().__init__(model)
            self.go_on, self.error, self.asked = threading.Event(), None, []
            self.go_on.set()

        def __call__(self, photo):
            self.asked.append(photo)
            assert self.go_on.wait(60)
            if self.error:
                raise self.error
            return super().__call__(photo)

    finder = Gated(tiny_model)
    yield finder
    finder.go_on.set()


@pytest.fixture
def open_page_under(find, tmp_path, monkeypatch):
    """`open_page_under(queue=1)` serves a page with these limits; returns its address and folder."""
    from flower_model.demo.page import build_demo
    from flower_model.demo.server.guard import Limits, guard
    from flower_model.demo.theme import PAGE

    pages = []

    def open_page_under(**limits):
        folder = tmp_path / "uploads"
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
        page = build_demo(find.model, "tiny", find)
        _, options = guard(page, find, Limits(**limits))
        page.launch(
            server_port=free_port(), prevent_thread_lock=True, quiet=True, **PAGE, **options
        )
        pages.append(page)
        return page.local_url, folder

    yield open_page_under
    for page in pages:
        page.close(verbose=False)


@pytest.fixture
def page(open_page) -> Page:
    """The page as a new visitor sees it, on a laptop's screen."""
    return open_page()


@pytest.fixture(scope="session")
def shoot() -> Callable[[Page, str], None]:
    """`shoot(page, "name")` keeps a picture of the page in tests/screenshots/, for people to look at."""
    folder = ROOT / "tests" / "screenshots"
    return lambda page, name: page.screenshot(path=folder / f"{name}.png", full_page=True) and None


LAPTOP, PHONE = {"width": 1160, "height": 900}, {"width": 360, "height": 740}
