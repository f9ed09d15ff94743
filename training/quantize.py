"""python -m training.quantize MODEL: add the int8 quantization to a model that training.train made."""

import argparse
import sys
from pathlib import Path

from flower_model.cli.common import run_command
from flower_model.errors import DataError
from training.arguments import add_data_root_argument, data_sources, weights_folder


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code (2 for bad input, with a message on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.quantize",
        description="Add quantization.safetensors to a finished model, which lets CPUs run it in "
        "int8. The ranges are calibrated on photos that the model was trained on; the weights stay "
        "as they are. training.train and training.calibrate do the same at their end.",
    )
    parser.add_argument("model", help="a weights folder made by training.train")
    parser.add_argument(
        "--data", metavar="PATH", help="the photos of the run, in place of the recipe's"
    )
    add_data_root_argument(parser)
    return run_command(lambda: _quantize(parser.parse_args(arguments)))


def _quantize(options: argparse.Namespace) -> int:
    folder = weights_folder(options.model, "quantized")
    sources = data_sources(options.data)
    # torch takes seconds to import
    from flower_model import FlowerClassifier
    from training.calibration.quantize import is_available, quantize_folder
    from training.calibration.recalibrate import load_run_photos
    from training.engine.inference import unquantized_precision

    if not is_available():
        raise DataError("Quantization needs NNCF and OpenVINO: pip install nncf openvino.")
    model = FlowerClassifier.from_pretrained(folder, precision=unquantized_precision())
    _, train, _ = load_run_photos(model, folder, Path(options.data_root), sources)
    quantization = quantize_folder(folder, train)
    print(f"{len(quantization.corrections)} layers of '{folder}' are computed in int8.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
