"""Ways to classify flowers with a ResNet-50, all of which load the same weights folder.

    python -m benchmarks.inference.contenders NAME WEIGHTS first|all PHOTO…

classifies the photos in this process and prints a line of JSON: the seconds of each of the first
photos alone, those of all photos as a folder, the labels, and the peak memory in MB. A first
prediction is made before anything is timed.
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
ALONE = 30  # photos that are timed one by one
Classify = Callable[[Sequence[str]], list[str]]
"""Maps paths of photos to labels."""


def ours(folder: str, runtime: Literal["torch", "openvino"], precision: Any = "auto") -> Classify:
    """This project."""
    from flower_model import FlowerClassifier

    model = FlowerClassifier.from_pretrained(folder, runtime=runtime, precision=precision)
    return lambda paths: (
        [model.predict(paths[0]).label]
        if len(paths) == 1
        else [prediction.label for prediction in model.predict(list(paths))]
    )


def transformers_pipeline(folder: str) -> Classify:
    """The pipeline in the documentation of transformers."""
    from transformers import pipeline

    classifier = pipeline("image-classification", model=folder)
    return lambda paths: [
        result[0]["label"] for result in classifier(list(paths), batch_size=min(BATCH, len(paths)))
    ]


def timm_eager(folder: str) -> Classify:
    """The code on the cards of timm's models."""
    import torch

    network, transform, labels = _timm(folder)

    def classify(paths: Sequence[str]) -> list[str]:
        found = []
        for path in paths:
            with torch.inference_mode():
                logits = network(transform(path).unsqueeze(0))
            found.append(labels[int(logits.argmax())])
        return found

    return classify


def timm_tuned(folder: str) -> Classify:
    """timm at its best without compiling: bf16, channels_last, batches."""
    import torch

    network, transform, labels = _timm(folder)
    network = network.to(memory_format=torch.channels_last)

    def run(batch: Any) -> Any:
        batch = torch.stack(batch).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return network(batch).argmax(1).tolist()

    return lambda paths: [labels[index] for index in _in_batches(paths, transform, run)]


def openvino_bare(folder: str) -> Classify:
    """OpenVINO as documented, in its default precision, with timm's transform."""
    import openvino as ov
    import torch

    network, transform, labels = _timm(folder)
    size = network.pretrained_cfg["input_size"][-1]
    model = ov.convert_model(network, example_input=torch.zeros(2, 3, size, size))
    model.reshape([-1, 3, size, size])
    compiled = ov.Core().compile_model(model, "CPU")

    def run(batch: Any) -> Any:
        return compiled([torch.stack(batch).numpy()])[0].argmax(1).tolist()

    return lambda paths: [labels[index] for index in _in_batches(paths, transform, run)]


def onnx_runtime(folder: str, variable: str = "ONNX_FILE") -> Classify:
    """ONNX Runtime on a graph exported by torch (see `export_onnx`), with timm's transform."""
    import numpy as np
    import onnxruntime

    _, transform, labels = _timm(folder)
    session = onnxruntime.InferenceSession(os.environ[variable])

    def run(batch: Any) -> Any:
        pixels = np.stack([photo.numpy() for photo in batch])
        return session.run(None, {"pixels": pixels})[0].argmax(1).tolist()

    return lambda paths: [labels[index] for index in _in_batches(paths, transform, run)]


def _timm(folder: str) -> tuple[Any, Callable[[str], Any], list[str]]:
    """Return timm's network, its transform of a photo's path, and the labels."""
    import timm
    from PIL import Image

    network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({}, model=network), is_training=False
    )
    labels = network.pretrained_cfg["label_names"]
    return network, lambda path: transform(Image.open(path).convert("RGB")), labels


def _in_batches(
    paths: Sequence[str], transform: Callable[[str], Any], run: Callable[[list[Any]], list[int]]
) -> list[int]:
    """Return the class index of each photo, computed in batches of at most `BATCH`."""
    batches = (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))
    return [index for batch in batches for index in run([transform(path) for path in batch])]


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


CONTENDERS: dict[str, Callable[[str], Classify]] = {
    "ours, int8": lambda folder: ours(folder, "openvino", "int8"),
    "ours, bf16": lambda folder: ours(folder, "openvino", "bf16"),
    "ours, fp32": lambda folder: ours(folder, "openvino", "fp32"),
    "ours, PyTorch": lambda folder: ours(folder, "torch"),
    "transformers pipeline": transformers_pipeline,
    "timm eager": timm_eager,
    "timm eager, bf16, batches": timm_tuned,
    "torchvision script": torchvision_script,
    "OpenVINO": openvino_bare,
    "ONNX Runtime": onnx_runtime,
    "ONNX Runtime, int8": lambda folder: onnx_runtime(folder, "ONNX_INT8_FILE"),
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


def quantize_onnx(source: Path, target: Path, folder: str, photos: Sequence[str]) -> None:
    """Quantize the graph of `export_onnx` to int8 as ONNX Runtime documents it."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    _, transform, _ = _timm(folder)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.pixels = iter([{"pixels": transform(path)[None].numpy()} for path in photos])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.pixels, None)

    quant_pre_process(str(source), str(target))
    quantize_static(str(target), str(target), Reader(), per_channel=True)


def main() -> None:
    """Run the command; see the module's docstring."""
    name, folder, task, *paths = sys.argv[1:]
    classify = CONTENDERS[name](folder)
    labels = classify(paths[:1])
    if task == "first":  # timed by the parent, from the start of the process
        print(labels[0], flush=True)
        return
    seconds = []
    for path in paths[:ALONE]:
        start = time.perf_counter()
        classify([path])
        seconds.append(time.perf_counter() - start)
    classify(paths[:BATCH])  # warm-up of batches
    start = time.perf_counter()
    labels = classify(paths)
    folder_seconds = time.perf_counter() - start
    result = {"one": seconds, "folder": folder_seconds, "labels": labels, "peak_mb": peak_mb()}
    print(json.dumps(result))


def peak_mb() -> float:
    """Return the peak memory of this process; Linux's rusage would include the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
