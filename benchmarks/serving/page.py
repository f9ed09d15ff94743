"""Start-up time of the page, and time from choosing a photo to the prediction on screen.

    python -m benchmarks.serving.page

The second time is measured in the browser, from the choice of the photo to the change of the name in
the page: for small photos, and for one of 12 megapixels over a slow mobile connection.
"""

import argparse
import importlib.util
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.serving.client import start_app

# Resolves to the milliseconds from the choice of a photo, which removes the name, to the next name.
STOPWATCH = """() => new Promise((resolve) => {
  const name = () => document.querySelector("#answer h2");
  document.querySelector("#photo input[type=file]").addEventListener("change", () => {
    const start = performance.now();
    let removed = false;
    const observer = new MutationObserver(() => {
      removed ||= !name();
      if (!removed || !name()) return;
      observer.disconnect();
      resolve(performance.now() - start);
    });
    observer.observe(document.querySelector("#answer"), { subtree: true, childList: true });
  }, { once: true });
})"""
CLOSE_UP = (180, 80, 450, 350)  # left, top, right, bottom of the dahlia in flower.jpg


def main() -> None:
    """Run the benchmark and print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights", help="weights folder (%(default)s)")
    parser.add_argument("--picture", help="also take the screenshot of the README")
    parser.add_argument("--uploads", type=int, default=20, help="after five for warm-up")
    options = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name in ("first start", "second start"):  # the first may compile the network
            start = time.perf_counter()
            server, url = start_app(options.model)
            listening = time.perf_counter() - start
            page = chromium.new_page()
            page.goto(url)
            page.locator("html[data-page=ready]").wait_for(state="attached")
            usable = time.perf_counter() - start
            print(f"{name}: listening after {listening:.1f} s, usable after {usable:.1f} s")
            if name == "second start":
                photos = save_photos(Path(folder))
                report("photo to name", page, photos, options.uploads)
                emulate_mobile_network(page)
                report("12 megapixels over 750 kbit/s", page, save_large(photos), uploads=6)
                if options.picture:
                    take_screenshot(chromium, url, Path(folder) / "close-up.jpg", options.picture)
            server.terminate()
            server.wait()


def report(what: str, page: Page, paths: list[Path], uploads: int, warm_up: int = 5) -> None:
    """Choose photos in turn and print the median and maximum times until their names."""
    times = []  # milliseconds
    for number in range(warm_up + uploads):
        page.evaluate(f"window.stopwatch = ({STOPWATCH})(); null")
        page.set_input_files("#photo input[type=file]", paths[number % 2])
        times.append(page.evaluate("window.stopwatch"))
    counted = times[warm_up:]
    print(f"{what}: median {statistics.median(counted):.0f} ms, max {max(counted):.0f} ms")


def emulate_mobile_network(page: Page) -> None:
    """Limit the page to 750 kbit/s in each direction with a latency of 50 ms."""
    page.context.new_cdp_session(page).send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 50,
            "uploadThroughput": 750_000 / 8,
            "downloadThroughput": 750_000 / 8,
        },
    )


def save_large(paths: list[Path]) -> list[Path]:
    """Enlarge photos to 12 megapixels with the grain of a camera; return the new files, 4 MB each."""
    large = []
    for path in paths:
        photo = np.asarray(ImageOps.fit(Image.open(path), (4000, 3000)), np.float32)
        grain = np.random.default_rng(0).normal(0, 4, photo.shape)
        large.append(path.with_name(f"large-{path.name}"))
        pixels = (photo + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(large[-1], quality=90)
    return large


def save_photos(folder: Path) -> list[Path]:
    """Save scikit-learn's two sample photos as JPEGs of 500 x 667 pixels."""
    paths = []
    for name in ("flower.jpg", "china.jpg"):
        paths.append(folder / name)
        ImageOps.fit(Image.open(sample_photo(name)), (500, 667)).save(paths[-1], quality=90)
    return paths


def sample_photo(name: str) -> Path:
    """Return the path of one of scikit-learn's sample photos."""
    spec = importlib.util.find_spec("sklearn")
    assert spec and spec.origin
    return Path(spec.origin).parent / "datasets" / "images" / name


def take_screenshot(chromium: Browser, url: str, photo: Path, path: str) -> None:
    """Save a screenshot of the page with the answer to a close-up of the flower and its heatmap."""
    close_up = Image.open(sample_photo("flower.jpg")).crop(CLOSE_UP).resize((540, 540))
    close_up.save(photo, quality=92)
    page = chromium.new_page(viewport={"width": 1160, "height": 900})
    page.goto(url)
    page.locator("html[data-page=ready]").wait_for(state="attached")
    page.set_input_files("#photo input[type=file]", photo)
    page.get_by_role("button", name="Show heatmap").click()
    page.wait_for_timeout(1000)
    page.screenshot(path=path, full_page=True)


if __name__ == "__main__":
    main()
