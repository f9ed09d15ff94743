"""Start-up time of the page, and time from choosing a photo to the prediction on screen.

    python -m benchmarks.serving.page

The second time is measured in the browser, from the choice of the photo to the change of the label
in the page. Gradio reports how much of it was spent in the prediction function on the server; the
rest is Gradio's upload, queue, events and rendering.
"""

import argparse
import importlib.util
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.serving.client import start_app

# Resolves to the milliseconds from the choice of a photo to the next label in the page.
STOPWATCH = """() => new Promise((resolve) => {
  const label = () => document.querySelector("#answer h2")?.textContent;
  const before = label();
  document.querySelector("#photo input[type=file]").addEventListener("change", () => {
    const start = performance.now();
    const observer = new MutationObserver(() => {
      if (!label() || label() === before) return;
      observer.disconnect();
      resolve(performance.now() - start);
    });
    observer.observe(document.querySelector("#answer"), { subtree: true, childList: true,
      characterData: true });
  }, { once: true });
})"""


# Records the duration of the prediction function from Gradio's event stream.
RECORD_DURATION = """const realFetch = window.fetch;
window.fetch = async (...request) => {
  const response = await realFetch(...request);
  if (String(request[0]?.url ?? request[0]).includes("/queue/data"))
    window.functionSeconds = duration(response.clone().body.pipeThrough(new TextDecoderStream()));
  return response;
};
const duration = async (stream) => {
  let text = "";
  for await (const part of stream) {
    text += part;
    const match = text.match(/process_completed.*"duration": *([0-9.e-]+)/);
    if (match) return Number(match[1]);
  }
};"""


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
            page.add_init_script(RECORD_DURATION)
            page.goto(url)
            page.locator("#photo input[type=file]").wait_for(state="attached")
            usable = time.perf_counter() - start
            print(f"{name}: listening after {listening:.1f} s, usable after {usable:.1f} s")
            if name == "second start":
                measure_predictions(page, save_photos(Path(folder)), options.uploads)
                if options.picture:
                    take_screenshot(chromium, url, options.picture)
            server.terminate()
            server.wait()


def measure_predictions(page: Page, paths: list[Path], uploads: int, warm_up: int = 5) -> None:
    """Upload photos in turn and print the median and maximum times."""
    total, in_function = [], []  # milliseconds
    for number in range(warm_up + uploads):
        page.evaluate(f"window.stopwatch = ({STOPWATCH})(); null")
        page.set_input_files("#photo input[type=file]", paths[number % 2])
        total.append(page.evaluate("window.stopwatch"))
        in_function.append(1000 * page.evaluate("window.functionSeconds"))
    for name, times in (("photo to prediction", total), ("in our function", in_function)):
        counted = times[warm_up:]
        print(f"{name}: median {statistics.median(counted):.0f} ms, max {max(counted):.0f} ms")


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


def take_screenshot(chromium: Browser, url: str, path: str) -> None:
    """Save a screenshot of the page with a prediction and its heatmap."""
    page = chromium.new_page(viewport={"width": 1160, "height": 900})
    page.goto(url)
    page.set_input_files("#photo input[type=file]", sample_photo("flower.jpg"))
    page.locator("#looked figure").wait_for()
    page.wait_for_timeout(1000)
    page.screenshot(path=path, full_page=True)


if __name__ == "__main__":
    main()
