"""Shared fixtures: a small model, a photo, a Hub, a browser and the page."""

import faulthandler
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flower_model.demo.server.environment import GRADIO_SETTINGS
from tests.support.commands import ROOT, Served, free_port, run
from tests.support.forked import Fork

# With pytest-xdist each worker has cores of its own: threads of PyTorch and OpenVINO that share cores
# wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[number % len(cores) :: workers])
# Read by huggingface_hub on import: no test uses the network by accident.
os.environ["HF_HUB_OFFLINE"] = "1"
# The cache of compiled models is below this folder.
CACHE = tempfile.TemporaryDirectory(prefix="flower-tests-", ignore_cleanup_errors=True)
os.environ["HF_ASSETS_CACHE"] = CACHE.name
os.environ.update(GRADIO_SETTINGS, GRADIO_TEMP_DIR=f"{CACHE.name}/gradio")

import timm
import torch
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sklearn.datasets import load_sample_image

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from tests.support.hub import HubServer

expect.set_options(timeout=20_000)  # for slow machines

# Fixtures that start a server or a process, and modules that train, compile networks or decode for long.
SLOW_FIXTURES = {
    "s3",
    "flower_data",
    "hub",
    "quantized_folder",
    "launch",
    "serve_page",
    "run_module",
    "run_script",
    "serve_app",
    "served",
    "guarded",
    "teachable",
}
SLOW_MODULES = [
    "bulk/test_ray",
    "cli/test_bulk",
    "results/test_results_file",
    "model/test_shipped_weights",
    "photos/test_untrusted_photos",
    "runtimes/test_compiled_cache",
    "runtimes/test_quantization",
    "test_packaging",
    "training/test_average",
    "training/test_calibrate",
    "training/reporting/test_evaluation",
    "training/engine/test_checkpoint",
    "training/engine/test_freeze",
    "training/test_processes",
    "training/test_quantize",
    "training/reporting/test_review",
    "training/engine/test_survival",
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
    items.sort(key=lambda item: item.path not in slow)  # first, so that no process ends long after


BOTANICAL = {
    "daisy": "Bellis perennis",
    "dandelion": "Taraxacum officinale",
    "rose": "Rosa",
    "sunflower": "Helianthus annuus",
    "tulip": "Tulipa",
}


@pytest.fixture(scope="session")
def tiny_model() -> FlowerClassifier:
    """Five labels and fixed random weights."""
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
def quantized_folder(tmp_path_factory) -> Path:
    """A weights folder with a quantization; a test that changes it works on a copy."""
    from tests.support.quantized import save_quantized_model

    return save_quantized_model(tmp_path_factory.mktemp("model") / "quantized")


@pytest.fixture(scope="session")
def flower_photo(tmp_path_factory) -> Path:
    """A JPEG of a dahlia, 640 x 427."""
    path = tmp_path_factory.mktemp("photo") / "dahlia.jpg"
    Image.fromarray(load_sample_image("flower.jpg")).save(path, quality=92)
    return path


@pytest.fixture(scope="session")
def label(tiny_folder, flower_photo) -> str:
    """The label that the served model gives the photo."""
    return FlowerClassifier.from_pretrained(tiny_folder).predict(flower_photo).label


@pytest.fixture(scope="session")
def flower_data() -> Path:
    """The folder of flower photos that FLOWER_DATA names; skips the test if it is unset."""
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
    """`run_module("flower_model", "photo.jpg")` runs `python -m flower_model photo.jpg`.

    Training commands without environment variables run in a fork.
    """

    def run_module(module: str, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        if module.startswith("training.") and not env:
            return Fork(module, *words).result()
        return run("-m", module, *words, env=env)

    return run_module


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_script("app.py", "--help")` runs `python app.py --help`."""
    return lambda script, *words, **env: run(str(ROOT / script), *words, env=env)


@pytest.fixture
def serve_app() -> Iterator[Callable[..., Served]]:
    """`serve_app("--share")` runs `python app.py --share` on a free port until the test ends."""
    with ExitStack() as running:
        yield lambda *words, **options: running.enter_context(Served(*words, **options))


@pytest.fixture(scope="session")
def served(tiny_folder) -> Iterator[Served]:
    """The page on `tiny_model`, shared by tests that do not change it."""
    with Served("--model", tiny_folder, "--mcp") as page:
        yield page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium with a fake webcam."""
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
    """`open_page(color_scheme="dark")` opens the page for a new visitor with a laptop's screen."""
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
def serve_page(tmp_path, monkeypatch) -> Iterator[Callable[..., str]]:
    """`serve_page(identify, "name", queue=1)` serves a page in this process; returns its URL."""
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
def launch(serve_page) -> Callable[[FlowerClassifier, str], str]:
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
def page(open_page) -> Page:
    """The page as a new visitor sees it on a laptop."""
    return open_page()


@pytest.fixture(scope="session")
def shoot() -> Callable[[Page, str], None]:
    """`shoot(page, "name")` saves a screenshot in tests/screenshots/."""
    folder = ROOT / "tests" / "screenshots"
    return lambda page, name: page.screenshot(path=folder / f"{name}.png", full_page=True) and None


LAPTOP, PHONE = {"width": 1160, "height": 900}, {"width": 360, "height": 740}
