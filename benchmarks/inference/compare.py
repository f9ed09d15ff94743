"""Inference speed of this package and of its alternatives, with the same weights and photos.

    python -m benchmarks.inference.compare

Every contender runs in a new process. They take turns for several rounds, and the table has the
medians. Writes a page with a plot to benchmarks/results/inference/, named after the processor's
instructions. Takes minutes on two cores. Requires an otherwise idle machine and
benchmarks/requirements.txt; contenders whose packages are missing are left out, and so is bf16 on a
processor that lacks it.
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
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image

from benchmarks.inference.contenders import CONTENDERS, export_onnx, quantize_onnx
from benchmarks.machine import RESULTS, ROOT, describe_machine, instruction_set

GFLOP = 8.2  # of a ResNet-50 at 224 pixels: 4.1 billion multiply-adds
FIELDS = ("first", "one", "p95", "folder", "peak")
# Of the contenders: the precision of their products, whose peak bounds their speed.
PRECISIONS = {"ours, PyTorch": "bf16", "timm eager, bf16, batches": "bf16", "OpenVINO": "bf16"}
PRECISIONS |= {f"ours, {name}": name for name in ("int8", "bf16", "fp32")}
PRECISIONS |= {"ONNX Runtime, int8": "int8"}


def main() -> None:
    """Run the benchmark and write its results page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default=str(ROOT / "weights"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--photos", type=int, default=64, help="in the folder")
    options = parser.parse_args()
    contenders = [name for name in CONTENDERS if "ONNX" not in name or find_spec("onnxruntime")]
    if instruction_set() not in ("AMX", "AVX-512 and bf16"):
        contenders = [name for name in contenders if "bf16" not in name]
    with tempfile.TemporaryDirectory() as temporary:
        photos = save_photos(Path(temporary), options.photos)
        if not find_spec("onnxruntime"):
            print("ONNX Runtime is not installed and left out.", flush=True)
        else:
            files = [Path(temporary) / f"{name}.onnx" for name in ("network", "int8")]
            os.environ |= {"ONNX_FILE": str(files[0]), "ONNX_INT8_FILE": str(files[1])}
            export_onnx(options.weights, files[0])
            quantize_onnx(*files, options.weights, photos[:32])
        for name in contenders:  # fills the cache
            if name.startswith("ours"):
                measure(name, options.weights, photos[:1])
        peaks: dict[str, float] = {}
        figures = defaultdict(list)
        labels: dict[str, list[str]] = {}
        for number in range(options.rounds):
            # Each second round backwards, so that nobody always follows the same neighbour: a
            # processor in the cloud that was loaded for seconds is slower afterwards.
            for name in contenders[:: -1 if number % 2 else 1]:
                measured, labels[name] = measure(name, options.weights, photos)
                for field, value in measured.items():
                    figures[name, field].append(value)
                print(number, name, {k: round(v, 4) for k, v in measured.items()}, flush=True)
            for precision, value in _run(
                [sys.executable, "-m", "benchmarks.inference.peak"]
            ).items():
                if f"ours, {precision}" in contenders:
                    peaks[precision] = max(value, peaks.get(precision, 0))
        profiles = {p: our_profile(options.weights, photos[0], p) for p in peaks}
    rows = {
        name: {field: statistics.median(figures[name, field]) for field in FIELDS}
        for name in contenders
    }
    report(rows, labels, profiles, peaks, options)


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
    precision = PRECISIONS.get(name, "")
    if name == f"ours, {precision}":  # the command of the package
        first_command = [sys.executable, "-m", "flower_model", photos[0], "--model", weights]
        first_command += ["--precision", precision]
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
    result = _run([*command, "all", *photos])
    return {
        "first": first,
        "one": statistics.median(result["one"]),
        "p95": float(np.quantile(result["one"], 0.95)),
        "folder": result["folder"] / len(photos),
        "peak": result["peak_mb"],
    }, result["labels"]


def our_profile(weights: str, photo: str, precision: str) -> dict[str, float]:
    """Return the seconds of each step for one photo, and of the forward pass per photo of a batch."""
    program = """
import json, sys, numpy as np
from benchmarks.machine import median_seconds
from flower_model import FlowerClassifier
from flower_model.photos.decode import open_image
model = FlowerClassifier.from_pretrained(sys.argv[1], runtime="openvino", precision=sys.argv[3])
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
seconds = {n: median_seconds(step, 6 if n == "batch" else 40) for n, step in steps.items()}
seconds["batch"] /= 32
print(json.dumps(seconds))
"""
    return json.loads(_output([sys.executable, "-c", program, weights, photo, precision]))


def profile_table(profiles: dict[str, dict[str, float]], peaks: dict[str, float]) -> str:
    """Return a Markdown table of the profiles, with the duration of a pass at peak speed."""
    names = {
        "open": "open the file, decoded at the nearest larger scale",
        "resize": "resize and crop",
        "pass": "forward pass, one photo",
        "batch": "forward pass, per photo in a batch of 32",
        "floor": f"{GFLOP} GFLOP at the peak",
        "read": "probabilities and labels",
    }
    columns = {p: profiles[p] | {"floor": GFLOP / peaks[p] / 1000} for p in profiles}
    lines = [
        f"| step for one photo, ms | {' | '.join(columns)} |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for key, text in names.items():
        lines.append(f"| {text} | {' | '.join(f'{1000 * c[key]:.2f}' for c in columns.values())} |")
    return "\n".join(lines)


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
    profiles: dict[str, dict[str, float]],
    peaks: dict[str, float],
    options: argparse.Namespace,
) -> None:
    """Print the results page and write it, with its plot, to benchmarks/results/."""
    lines = [
        "| | first prediction | one photo | 95th percentile | folder | peak memory | of the peak |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        share = (
            GFLOP / row["folder"] / 1000 / peaks.get(PRECISIONS.get(name, "fp32"), peaks["fp32"])
        )
        lines.append(
            f"| {name} | {row['first']:.2f} s | {1000 * row['one']:.1f} ms "
            f"| {1000 * row['p95']:.1f} ms | {1 / row['folder']:.1f} photos/s "
            f"| {row['peak']:.0f} MB | {share:.0%} |"
        )
    ours = rows["ours, int8"]
    ratios = [
        "| slower than ours, int8, by a factor of | one photo | folder |",
        "| --- | ---: | ---: |",
    ]
    for name, row in rows.items():
        one, folder = row["one"] / ours["one"], row["folder"] / ours["folder"]
        ratios.append(f"| {name} | {one:.2f} | {folder:.2f} |")
    same = [
        f"{name}: {np.mean([a == b for a, b in zip(labels[name], labels['timm eager'], strict=True)]):.1%}"
        for name in rows
        if name != "timm eager"
    ]
    kind = instruction_set()
    name = kind.lower().replace("avx-", "avx").replace(" and ", "-")
    text = f"""# Inference speed with {kind}

Made by `python -m benchmarks.inference.compare`: medians of {options.rounds} rounds in which the contenders take
turns, each in a new process. {describe_machine()}; {_versions()}.
Photos: {options.photos} JPEGs of 500 x 667 pixels. The time of the first prediction
includes the start of the process. "Of the peak" compares the folder's speed with that of large convolutions on this
machine in the contender's precision (`python -m benchmarks.inference.peak`):
{", ".join(f"{peak:.2f} TFLOP/s in {precision}" for precision, peak in peaks.items())}.

{chr(10).join(lines)}

{chr(10).join(ratios)}

{profile_table(profiles, peaks)}

Same label as timm eager: {"; ".join(same)}. Photos whose short side is at least twice the
network's input are decoded at a smaller scale, which occasionally changes the label of an ambiguous photo.
[results.md](../../../docs/results.md#precision) compares the precisions' accuracy.

![Photos/s and milliseconds per photo of each contender]({name}.png)
"""
    print(text)
    folder = RESULTS / "inference"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    _plot(rows).savefig(folder / f"{name}.png", dpi=90, metadata={"Software": None})


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
    found = []
    for package in packages:
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)


if __name__ == "__main__":
    main()
