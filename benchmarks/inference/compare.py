"""Inference speed of this package and of its alternatives, with the same weights and photos.

    python -m benchmarks.inference.compare

Every measurement is made in a new process. The contenders take turns for several rounds, and the
table has the medians. Writes benchmarks/results/inference.md and inference.png. Requires
benchmarks/requirements.txt and an otherwise idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image

from benchmarks.inference.contenders import CONTENDERS, export_onnx
from benchmarks.machine import RESULTS, ROOT, describe_machine

GFLOP = 8.2  # of a ResNet-50 at 224 pixels: 4.1 billion multiply-adds
FIELDS = ("first", "one", "p95", "folder", "peak")


def main() -> None:
    """Run the benchmark and write its results page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default=str(ROOT / "weights"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=256, help="in the folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        photos = save_photos(Path(temporary), options.photos)
        os.environ["ONNX_FILE"] = str(Path(temporary) / "network.onnx")
        export_onnx(options.weights, Path(os.environ["ONNX_FILE"]))
        peaks, bare, figures = [], [], defaultdict(list)
        labels: dict[str, list[str]] = {}
        for number in range(options.rounds + 1):  # round 0 fills the caches and is discarded
            peak, network = matrix_peak(), bare_openvino(options.weights)
            if number:
                peaks.append(peak)
                bare.append(network)
            for name in CONTENDERS:
                measured, labels[name] = measure(name, options.weights, photos)
                if number:
                    for field, value in measured.items():
                        figures[name, field].append(value)
                print(number, name, {k: round(v, 4) for k, v in measured.items()}, flush=True)
        profile = our_profile(options.weights, photos[0])
    rows = {
        name: {field: statistics.median(figures[name, field]) for field in FIELDS}
        for name in CONTENDERS
    }
    report(rows, labels, profile, statistics.median(peaks), statistics.median(bare), options)


def save_photos(folder: Path, count: int) -> list[str]:
    """Save JPEGs of 500 x 667 pixels: crops of scikit-learn's two sample photos."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg")]
    paths = []
    for index in range(count):
        picture = pictures[index % 2]
        height = rng.uniform(0.6, 1) * picture.height
        width = height * 500 / 667
        left = rng.uniform(0, picture.width - width)
        top = rng.uniform(0, picture.height - height)
        part = picture.resize(
            (500, 667), Image.Resampling.BICUBIC, (left, top, left + width, top + height)
        )
        paths.append(str(folder / f"{index:04d}.jpg"))
        part.save(paths[-1], quality=90)
    return paths


def measure(name: str, weights: str, photos: list[str]) -> tuple[dict[str, float], list[str]]:
    """Return a contender's times in seconds, its peak memory in MB, and its labels."""
    command = [sys.executable, "-m", "benchmarks.inference.contenders", name, weights]
    if name == "ours, OpenVINO":  # the command of the package
        first_command = [sys.executable, "-m", "flower_model", photos[0], "--model", weights]
    else:
        first_command = [*command, "first", photos[0]]
    start = time.perf_counter()
    process = subprocess.Popen(
        first_command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    process.stdout.readline()
    first = time.perf_counter() - start
    process.communicate()
    one = _run([*command, "one", *photos[:50]])
    folder = _run([*command, "folder", *photos])
    return {
        "first": first,
        "one": statistics.median(one["seconds"]),
        "p95": statistics.quantiles(one["seconds"], n=20)[-1],
        "folder": folder["seconds"][0] / len(photos),
        "peak": folder["peak_mb"],
    }, folder["labels"]


def matrix_peak() -> float:
    """Return the TFLOP/s of a bf16 matrix product, an upper bound for a network's."""
    program = """
import time, torch
a, b = torch.randn(2, 2048, 2048).bfloat16()
best = 1e9
for _ in range(12):
    start = time.perf_counter(); a @ b; best = min(best, time.perf_counter() - start)
print(2 * 2048**3 / best / 1e12)
"""
    return float(_output([sys.executable, "-c", program]))


def bare_openvino(weights: str) -> float:
    """Return the seconds per forward pass of one photo in plain OpenVINO, set up as documented."""
    program = """
import sys, numpy as np, openvino as ov, timm, torch
from benchmarks.machine import median_seconds
network = timm.create_model(f"local-dir:{sys.argv[1]}", pretrained=True).eval()
size = network.pretrained_cfg["input_size"][-1]
graph = ov.convert_model(network, example_input=torch.zeros(1, 3, size, size), input=[1, 3, size, size])
core = ov.Core()
bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"}
request = core.compile_model(graph, "CPU", hints).create_infer_request()
pixels = np.zeros((1, 3, size, size), np.float32)
print(median_seconds(lambda: request.infer([pixels]), 60))
"""
    return float(_output([sys.executable, "-c", program, weights]))


def our_profile(weights: str, photo: str) -> dict[str, float]:
    """Return the seconds of each step for one photo, and of the forward pass per photo of a batch."""
    program = """
import json, sys, numpy as np
from benchmarks.machine import median_seconds
from flower_model import FlowerClassifier
from flower_model.photos.decode import open_image
model = FlowerClassifier.from_pretrained(sys.argv[1], runtime="openvino")
side = model.photo_transform.short_side
picture = open_image(sys.argv[2], short_side=side)
pixels = model.to_pixels(sys.argv[2])[None]
outputs, batch = model.runtime(pixels), np.repeat(pixels, 32, axis=0)
steps = {
    "open": lambda: open_image(sys.argv[2], short_side=side),
    "resize": lambda: model.photo_transform.to_pixels(picture),
    "pass": lambda: model.runtime(pixels),
    "read": lambda: model.to_predictions(outputs),
    "batch": lambda: model.runtime(batch),
}
seconds = {n: median_seconds(step, 15 if n == "batch" else 60) for n, step in steps.items()}
seconds["batch"] /= 32
print(json.dumps(seconds))
"""
    return json.loads(_output([sys.executable, "-c", program, weights, photo]))


def profile_table(profile: dict[str, float], peak: float) -> str:
    """Return a Markdown table of the profile, with the duration of a forward pass at peak speed."""
    floor = GFLOP / peak / 1000
    return f"""| step for one photo | ms |
| --- | --- |
| open the file, decoded at the nearest larger scale | {1000 * profile["open"]:.2f} |
| resize and crop | {1000 * profile["resize"]:.2f} |
| forward pass, one photo | {1000 * profile["pass"]:.2f} |
| forward pass, per photo in a batch of 32 | {1000 * profile["batch"]:.2f} |
| {GFLOP} GFLOP at the peak of the matrix product | {1000 * floor:.2f} |
| probabilities and labels | {1000 * profile["read"]:.2f} |"""


def _run(command: list[str]) -> dict[str, Any]:
    return json.loads(_output(command))


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode:
        raise SystemExit(f"{command[1]} failed:\n{done.stderr}")
    return done.stdout.splitlines()[-1]


def report(
    rows: dict[str, dict[str, float]],
    labels: dict[str, list[str]],
    profile: dict[str, float],
    peak: float,
    bare: float,
    options: argparse.Namespace,
) -> None:
    """Print the results page and write it, with its plot, to benchmarks/results/."""
    ours = rows["ours, OpenVINO"]
    lines = [
        "| | first prediction | one photo | 95th percentile | folder | peak memory | of the peak |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        share = GFLOP / row["folder"] / 1000 / peak
        lines.append(
            f"| {name} | {row['first']:.2f} s | {1000 * row['one']:.1f} ms "
            f"| {1000 * row['p95']:.1f} ms | {1 / row['folder']:.1f} photos/s "
            f"| {row['peak']:.0f} MB | {share:.0%} |"
        )
    pipeline, eager = rows["transformers pipeline"], rows["timm eager"]
    pass_ = profile["pass"]
    same = [
        f"{name}: {np.mean([a == b for a, b in zip(labels[name], labels['timm eager'], strict=True)]):.1%}"
        for name in rows
        if name != "timm eager"
    ]
    text = f"""# Inference speed

Made by `python -m benchmarks.inference.compare`: medians of {options.rounds} rounds in which the contenders take
turns, each measurement in a new process. {describe_machine()}; {_versions()}.
Photos: {options.photos} JPEGs of 500 x 667 pixels. The time of the first prediction
includes the start of the process. "Of the peak" compares the folder's speed with that of a bf16 matrix
product on this machine, {peak:.2f} TFLOP/s.

{chr(10).join(lines)}

| ratio | |
| --- | --- |
| one photo, transformers pipeline / ours | {pipeline["one"] / ours["one"]:.2f} |
| folder, transformers pipeline / ours | {pipeline["folder"] / ours["folder"]:.2f} |
| folder, timm eager / ours | {eager["folder"] / ours["folder"]:.2f} |
| first prediction, ours / transformers pipeline | {ours["first"] / pipeline["first"]:.2f} |
| forward pass of one photo, ours / plain OpenVINO | {1000 * pass_:.2f} ms / {1000 * bare:.2f} ms = {pass_ / bare:.2f} |

{profile_table(profile, peak)}

Same label as timm eager: {"; ".join(same)}. Photos whose short side is at least twice the
network's input are decoded at a smaller scale, which occasionally changes the label of an ambiguous photo.

![Photos/s and milliseconds per photo of each contender](inference.png)
"""
    print(text)
    (RESULTS / "inference.md").write_text(text, encoding="utf-8")
    _plot(rows).savefig(RESULTS / "inference.png", dpi=90, metadata={"Software": None})


def _plot(rows: dict[str, dict[str, float]]) -> Figure:
    figure = Figure(figsize=(9, 3), layout="constrained")
    names = list(rows)[::-1]
    colours = ["tab:pink" if name.startswith("ours") else "tab:gray" for name in names]
    folder, one = figure.subplots(1, 2, sharey=True)
    folder.barh(names, [1 / rows[name]["folder"] for name in names], color=colours)
    folder.set_xlabel("photos/s, folder")
    one.barh(names, [1000 * rows[name]["one"] for name in names], color=colours)
    one.set_xlabel("ms, one photo")
    return figure


def _versions() -> str:
    packages = ("torch", "timm", "transformers", "openvino", "onnxruntime")
    return ", ".join(f"{package} {version(package)}" for package in packages)


if __name__ == "__main__":
    main()
