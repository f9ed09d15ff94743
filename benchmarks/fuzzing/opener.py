"""Subprocess of the fuzzer that opens files: python -m benchmarks.fuzzing.opener KIND FOLDER."""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flower_model.errors import FlowerModelError

ADDRESS_SPACE = 12_000_000_000  # bytes; a larger allocation fails here before the machine swaps


def main(kind: str, folder: Path) -> None:
    """For every line on stdin, open FOLDER/file and print the outcome as a line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    open_file = OPENERS[kind](folder)
    here = _files(folder)
    print("ready", flush=True)
    for _ in sys.stdin:
        before = _megabytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak, VmHWM
        cpu, wall = time.process_time(), time.monotonic()
        try:
            open_file()
            outcome = "opened"
        except FlowerModelError as error:
            lines = len(str(error).splitlines())
            outcome = "refused" if lines == 1 and len(str(error)) <= 300 else "bad message"
        # A panic in Rust code, such as that of safetensors, is not an Exception.
        except BaseException as error:  # noqa: BLE001  # every other exception is a finding
            outcome = f"{type(error).__name__}: {error}"[:300]
        seen = {
            "outcome": outcome,
            "cpu": time.process_time() - cpu,
            "wall": time.monotonic() - wall,
            "megabytes": _megabytes("VmHWM") - before,
            "left": sorted(_files(folder) - here - {"file"}),
        }
        print(json.dumps(seen), flush=True)


def _photo(folder: Path) -> Callable[[], object]:
    from PIL import Image
    from pillow_heif import register_heif_opener

    from flower_model.photos.decode import open_image
    from flower_model.photos.transform import PhotoTransform

    register_heif_opener()  # now, so that its time isn't counted for the first HEIC
    transform = PhotoTransform((224, 224), 0.95, "center", Image.Resampling.BICUBIC, (0, 0, 0))
    photo = folder / "file"
    return lambda: transform.to_pixels(
        open_image(photo.read_bytes(), short_side=transform.short_side)
    )


def _zip(folder: Path) -> Callable[[], object]:
    from flower_model.demo.uploads import open_uploads
    from flower_model.photos.decode import open_image

    sent = {
        "path": str(folder / "file"),
        "orig_name": "a.zip",
        "meta": {"_type": "gradio.FileData"},
    }

    def open_all() -> None:
        errors = []
        with open_uploads([sent]) as uploads:
            for upload in uploads:
                try:
                    open_image(upload.read(), short_side=236)
                except FlowerModelError as error:
                    errors.append(error)
        if errors:
            raise errors[0]

    return open_all


def _results(folder: Path) -> Callable[[], object]:
    from flower_model.results.results_file import ResultsFile

    def resume() -> None:
        content = (folder / "file").read_bytes()
        suffix = {b"PAR1": ".parquet", b'{"ph': ".jsonl"}.get(content[:4], ".csv")
        for path in folder.glob("results.*"):
            path.unlink()
        path = folder / f"results{suffix}"
        path.write_bytes(content)
        try:
            with ResultsFile(path, model="resnet50-0123", top_k=2) as results:
                results.is_done("a.jpg")
        finally:
            for path in folder.glob("results.*"):
                path.unlink()

    return resume


def _weights(folder: Path) -> Callable[[], object]:
    from benchmarks.fuzzing.samples import unpack_weights
    from flower_model import FlowerClassifier

    photo = unpack_weights(folder)
    FlowerClassifier.from_pretrained(folder / "weights", runtime="torch").predict(photo)

    def load() -> None:
        unpack_weights(folder, (folder / "file").read_bytes())
        FlowerClassifier.from_pretrained(folder / "weights", runtime="torch").predict(photo)

    return load


OPENERS = {"photo": _photo, "zip": _zip, "results": _results, "weights": _weights}


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _megabytes(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
