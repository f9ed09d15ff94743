"""Ways to classify flowers with a ResNet-50, all of which load the same weights folder.

    python -m benchmarks.inference.contenders NAME WEIGHTS first|one|folder PHOTO…

classifies the photos in this process and prints a line of JSON: the seconds of each photo (one) or
of all photos (folder), the labels, and the peak memory in MB. A first prediction is made before
anything is timed.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

BATCH = 32
Classify = Callable[[Sequence[str]], list[str]]
"""Maps paths of photos to labels."""


def ours(folder: str, runtime: Literal["auto", "torch", "openvino"]) -> Classify:
    """This project."""
    from flower_model import FlowerClassifier

    model = FlowerClassifier.from_pretrained(folder, runtime=runtime)
    return lambda paths: (
        [model.predict(paths[0]).label]
        if len(paths) == 1
        else [prediction.label for prediction in model.predict(list(paths))]
    )


def transformers_pipeline(folder: str) -> Classify:
    """The pipeline in the documentation of transformers."""
    from transformers import pipeline

    classifier = pipeline("image-classification", model=folder)
    return lambda paths: [result[0]["label"] for result in classifier(list(paths))]


def timm_eager(folder: str) -> Classify:
    """The code on the cards of timm's models."""
    import timm
    import torch
    from PIL import Image

    network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({}, model=network), is_training=False
    )
    labels = network.pretrained_cfg["label_names"]

    def classify(paths: Sequence[str]) -> list[str]:
        found = []
        for path in paths:
            with torch.inference_mode():
                logits = network(transform(Image.open(path).convert("RGB")).unsqueeze(0))
            found.append(labels[int(logits.argmax())])
        return found

    return classify


def torchvision_script(folder: str) -> Classify:
    """A course's script: torchvision's network and transforms, photos stacked into batches."""
    import torch
    from PIL import Image
    from safetensors.torch import load_file
    from torchvision import models, transforms

    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    labels, data = config["label_names"], config["pretrained_cfg"]
    network = models.resnet50(weights=None, num_classes=len(labels))
    network.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    network.eval()
    size = data["input_size"][-1]
    transform = transforms.Compose(
        [
            transforms.Resize(
                int(size / data["crop_pct"]), transforms.InterpolationMode(data["interpolation"])
            ),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(data["mean"], data["std"]),
        ]
    )

    def classify(paths: Sequence[str]) -> list[str]:
        found = []
        for start in range(0, len(paths), BATCH):
            batch = [transform(Image.open(p).convert("RGB")) for p in paths[start : start + BATCH]]
            with torch.no_grad():
                found += network(torch.stack(batch)).argmax(1).tolist()
        return [labels[index] for index in found]

    return classify


def onnx_runtime(folder: str) -> Classify:
    """ONNX Runtime on a graph exported by torch (see `export_onnx`), with timm's transform."""
    import numpy as np
    import onnxruntime
    import timm
    from PIL import Image

    data = timm.data.resolve_data_config(
        json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["pretrained_cfg"]
    )
    transform = timm.data.create_transform(**data, is_training=False)
    labels = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["label_names"]
    session = onnxruntime.InferenceSession(os.environ["ONNX_FILE"])

    def classify(paths: Sequence[str]) -> list[str]:
        found: list[int] = []
        for start in range(0, len(paths), BATCH):
            batch = [
                transform(Image.open(p).convert("RGB")).numpy()
                for p in paths[start : start + BATCH]
            ]
            found += session.run(None, {"pixels": np.stack(batch)})[0].argmax(1).tolist()
        return [labels[index] for index in found]

    return classify


CONTENDERS: dict[str, Callable[[str], Classify]] = {
    "ours, OpenVINO": lambda folder: ours(folder, "openvino"),
    "ours, PyTorch": lambda folder: ours(folder, "torch"),
    "transformers pipeline": transformers_pipeline,
    "timm eager": timm_eager,
    "torchvision script": torchvision_script,
    "ONNX Runtime": onnx_runtime,
}


def export_onnx(folder: str, file: Path) -> None:
    """Export the graph for `onnx_runtime`, with a dynamic batch size."""
    import timm
    import torch

    network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    size = network.pretrained_cfg["input_size"][-1]
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, size, size),),
        str(file),
        input_names=["pixels"],
        dynamic_shapes=({0: torch.export.Dim("photos")},),
        external_data=False,
        verbose=False,
    )


def main() -> None:
    """Run the command; see the module's docstring."""
    name, folder, task, *paths = sys.argv[1:]
    classify = CONTENDERS[name](folder)
    labels = classify(paths[:1])
    if task == "first":  # timed by the parent, from the start of the process
        print(labels[0], flush=True)
        return
    if task == "folder":
        classify(paths[:BATCH])  # warm-up of batches
        start = time.perf_counter()
        labels = classify(paths)
        seconds = [time.perf_counter() - start]
    else:
        seconds, labels = [], []
        for path in paths:
            start = time.perf_counter()
            labels += classify([path])
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "labels": labels, "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Return the peak memory of this process; Linux's rusage would include the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
