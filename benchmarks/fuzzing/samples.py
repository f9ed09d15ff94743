"""Valid files of each kind that the fuzzer damages."""

import json
import tempfile
from functools import cache
from pathlib import Path

from benchmarks.fuzzing.attacks import make_zip
from benchmarks.fuzzing.seeds import draw_picture, encoded, seeds


@cache
def samples(kind: str) -> dict[str, bytes]:
    """Return valid files of a kind ("photo", "zip", "results" or "weights") by name."""
    if kind == "photo":
        return seeds()
    if kind == "zip":
        photo = encoded(draw_picture(), "JPEG")
        members = {f"{i}.jpg": photo for i in range(3)}
        return {f"zip, compression {how}": make_zip(members, how) for how in (0, 8, 12, 14)}
    if kind == "results":
        return _results_files()
    return _weights()


def unpack_weights(folder: Path, file: bytes = b"") -> Path:
    """Write `folder`/weights, with one file replaced by `file`; return the path of a photo."""
    for name, content in _weights().items():
        path = folder / "weights" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    if file:
        name = "config.json" if file[:1] in b'{["' else "model.safetensors"
        (folder / "weights" / name).write_bytes(file)
    photo = folder / "photo.png"
    if not photo.exists():
        photo.write_bytes(encoded(draw_picture(), "PNG"))
    return photo


def _results_files() -> dict[str, bytes]:
    from flower_model.prediction import Prediction
    from flower_model.results.results_file import ResultsFile

    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".csv", ".jsonl", ".parquet"):
            path = Path(folder) / f"results{suffix}"
            with ResultsFile(path, model="resnet50-0123", top_k=2) as results:
                for number in range(5):
                    results.write(f"{number}.jpg", Prediction((("rose", 0.9), ("tulip", 0.1))))
                results.finish()
            files[f"results{suffix}"] = path.read_bytes()
    return files


@cache
def _weights() -> dict[str, bytes]:
    """Return the files of a weights folder with a small network."""
    import timm
    import torch

    from flower_model import FlowerClassifier
    from flower_model.config import ModelConfig

    torch.manual_seed(0)
    labels = ("daisy", "rose", "tulip")
    network = timm.create_model("test_resnet", num_classes=len(labels))
    model = FlowerClassifier(network, ModelConfig("test_resnet", labels), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
        weights = (Path(folder) / "model.safetensors").read_bytes()
    return {"config.json": json.dumps(config).encode(), "model.safetensors": weights}
