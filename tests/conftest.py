"""Shared fixtures: a small model, a photo, a Hub and the page's server."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flower_model.demo.server.environment import GRADIO_SETTINGS
from tests.support.commands import ROOT, Served, run
from tests.support.forked import Fork

# Imported by the fixtures that need them: pytest-xdist starts its workers only after this module.
if TYPE_CHECKING:
    from flower_model import FlowerClassifier
    from tests.support.hub import HubServer

# With pytest-xdist each worker has cores of its own: threads of PyTorch and OpenVINO that share cores
# wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[number % len(cores) :: workers])
# Read by huggingface_hub on import: no test uses the network by accident.
os.environ["HF_HUB_OFFLINE"] = "1"
# The cache of compiled models is below this folder. Workers share that of the process that starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    CACHE = tempfile.TemporaryDirectory(prefix="flower-tests-", ignore_cleanup_errors=True)
    os.environ["HF_ASSETS_CACHE"] = CACHE.name
uploads = f"gradio-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
os.environ.update(GRADIO_SETTINGS, GRADIO_TEMP_DIR=f"{os.environ['HF_ASSETS_CACHE']}/{uploads}")

# Fixtures that start a server or a process.
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
# Modules and folders of tests that train, compile networks, decode for long or start servers. The tests that
# take minutes come first, so that no process ends long after the others.
SLOW_MODULES = [
    "training/test_processes",
    "training/engine/test_survival",
    "training/test_training",
    "training/test_calibrate",
    "training/data/test_shards",
    "training/test_average",
    "training/test_quantize",
    "training/engine/test_checkpoint",
    "training/engine/test_freeze",
    "training/reporting/test_evaluation",
    "training/reporting/test_review",
    "training/reporting/test_track",
    "hub/test_push",
    "hub/test_publish",
    "hub/test_load",
    "hub/test_download_errors",
    "hub/test_hub_server",
    "hub/test_transfers",
    "demo/tabs",
    "demo/server",
    "demo/test_accessibility",
    "demo/test_app",
    "demo/test_login",
    "demo/test_page_screens",
    "demo/test_untrusted_names",
    "demo/test_uploads",
    "demo/answers/test_table",
    "bulk/test_ray",
    "cli/test_bulk",
    "model/test_shipped_weights",
    "photos/test_decode_for_resize",
    "photos/test_untrusted_photos",
    "results",
    "runtimes/test_compiled_cache",
    "runtimes/test_quantization",
    "test_packaging",
]


@cache
def slow_module(path: Path) -> int:
    """Return the place of a test module in `SLOW_MODULES`, the end if none names it."""
    name = path.with_suffix("")
    places = (name.is_relative_to(ROOT / "tests" / slow) for slow in SLOW_MODULES)
    return next((place for place, here in enumerate(places) if here), len(SLOW_MODULES))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import modules without a quick test for quick tests, nor what they import."""
    quick = "not slow" in config.option.markexpr
    return True if quick and slow_module(collection_path) < len(SLOW_MODULES) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow, browser or photos by their module and fixtures."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "browser" in fixtures:
            item.add_marker("browser")
        if "flower_data" in fixtures:
            item.add_marker("photos")
        if fixtures & SLOW_FIXTURES or slow_module(item.path) < len(SLOW_MODULES):
            item.add_marker("slow")
    items.sort(key=lambda item: slow_module(item.path))


BOTANICAL = {
    "daisy": "Bellis perennis",
    "dandelion": "Taraxacum officinale",
    "rose": "Rosa",
    "sunflower": "Helianthus annuus",
    "tulip": "Tulipa",
}


@pytest.fixture(scope="session")
def tiny_model() -> "FlowerClassifier":
    """Five labels and fixed random weights."""
    import timm
    import torch

    from flower_model import FlowerClassifier
    from flower_model.config import ModelConfig

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
    from PIL import Image
    from sklearn.datasets import load_sample_image

    path = tmp_path_factory.mktemp("photo") / "dahlia.jpg"
    Image.fromarray(load_sample_image("flower.jpg")).save(path, quality=92)
    return path


@pytest.fixture(scope="session")
def label(tiny_folder, flower_photo) -> str:
    """The label that the served model gives the photo."""
    from flower_model import FlowerClassifier

    return FlowerClassifier.from_pretrained(tiny_folder).predict(flower_photo).label


@pytest.fixture(scope="session")
def flower_data() -> Path:
    """The folder of flower photos that FLOWER_DATA names; skips the test if it is unset."""
    if "FLOWER_DATA" not in os.environ:
        pytest.skip("FLOWER_DATA is not set to a folder of flower photos")
    return Path(os.environ["FLOWER_DATA"])


@pytest.fixture
def hub() -> "Iterator[HubServer]":
    """A Hub on loopback: `run_module("flower_model", …, **hub.environment(tmp_path, token))`."""
    from tests.support.hub import HubServer

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
