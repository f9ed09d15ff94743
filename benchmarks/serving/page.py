"""How long the page takes to be usable after `python app.py`, and from a click to the answer shown.

    python -m benchmarks.serving.page

The clock of the second figure runs in the browser, from the moment the photo is chosen until the name is
in the page. Gradio reports how long our function took on the server; the rest is Gradio's own: upload,
queue, events, rendering.
"""

import argparse
import importlib.util
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.machine import ROOT

# Resolves with the milliseconds from the choice of a photo to another name in the page.
CLOCK = """() => new Promise((answered) => {
  const name = () => document.querySelector("#answer h2")?.textContent;
  const before = name();
  document.querySelector("#photo input[type=file]").addEventListener("change", () => {
    const start = performance.now();
    const watch = new MutationObserver(() => {
      if (!name() || name() === before) return;
      watch.disconnect();
      answered(performance.now() - start);
    });
    watch.observe(document.querySelector("#answer"), { subtree: true, childList: true,
      characterData: true });
  }, { once: true });
})"""


# Keeps what Gradio tells the page of an event that is done: how many seconds our function took.
LISTEN = """const ask = window.fetch;
window.fetch = async (...request) => {
  const response = await ask(...request);
  if (String(request[0]?.url ?? request[0]).includes("/queue/data"))
    window.tookSeconds = listen(response.clone().body.pipeThrough(new TextDecoderStream()));
  return response;
};
const listen = async (stream) => {
  let told = "";
  for await (const part of stream) {
    told += part;
    const took = told.match(/process_completed.*"duration": *([0-9.e-]+)/);
    if (took) return Number(took[1]);
  }
};"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights", help="weights folder (%(default)s)")
    parser.add_argument("--picture", help="also take the README's picture of the page")
    parser.add_argument("--uploads", type=int, default=20, help="after five to warm up")
    options = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for start in ("first start", "second start"):  # the first may have a network to compile
            server, url, seconds = start_app(options.model)
            page = chromium.new_page()
            page.add_init_script(LISTEN)
            begun = time.perf_counter()
            page.goto(url)
            page.locator("#photo input[type=file]").wait_for(state="attached")
            shown = time.perf_counter() - begun
            print(f"{start}: listening after {seconds:.1f} s, usable after {seconds + shown:.1f} s")
            if start == "second start":
                measure_answers(page, photos(Path(folder)), options.uploads)
                if options.picture:
                    take_picture(chromium, url, options.picture)
            server.terminate()
            server.wait()


def start_app(model: str) -> tuple[subprocess.Popen[str], str, float]:
    """Starts the app; returns its process, its address and the seconds until it said so."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "app.py", "--model", model, "--port", str(port)]
    begun = time.perf_counter()
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout
    server.stdout.readline()
    return server, f"http://127.0.0.1:{port}/", time.perf_counter() - begun


def photos(folder: Path) -> list[Path]:
    """scikit-learn's two sample photos as JPEGs of 500 x 667 pixels."""
    paths = []
    for name in ("flower.jpg", "china.jpg"):
        paths.append(folder / name)
        ImageOps.fit(Image.open(sample(name)), (500, 667)).save(paths[-1], quality=90)
    return paths


def sample(name: str) -> Path:
    """One of scikit-learn's sample photos."""
    spec = importlib.util.find_spec("sklearn")
    assert spec and spec.origin
    return Path(spec.origin).parent / "datasets" / "images" / name


def take_picture(chromium: Browser, url: str, path: str) -> None:
    page = chromium.new_page(viewport={"width": 1160, "height": 900})
    page.goto(url)
    page.set_input_files("#photo input[type=file]", sample("flower.jpg"))
    page.locator("#looked figure").wait_for()
    page.wait_for_timeout(1000)
    page.screenshot(path=path, full_page=True)


def measure_answers(page: Page, paths: list[Path], uploads: int, warm_up: int = 5) -> None:
    times, ours = [], []  # milliseconds until the answer is shown; of them in our function
    for number in range(warm_up + uploads):
        page.evaluate(f"window.clock = ({CLOCK})(); null")
        page.set_input_files("#photo input[type=file]", paths[number % 2])
        times.append(page.evaluate("window.clock"))
        ours.append(1000 * page.evaluate("window.tookSeconds"))
    for text, figures in (("from the choice to the answer", times), ("of that our function", ours)):
        measured = figures[warm_up:]
        print(
            f"{text}: median {statistics.median(measured):.0f} ms, slowest {max(measured):.0f} ms"
        )


if __name__ == "__main__":
    main()
