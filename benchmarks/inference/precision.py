"""Accuracy of int8 and bf16 compared with fp32, on held-out photos, negatives and training photos.

    python -m benchmarks.inference.precision weights --data-root data

Prints a table. Accuracy doesn't depend on the machine's load, so it may be busy. The training photos
tell how often a precision changes a label, not how accurate the model is.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from flower_model import FlowerClassifier
from flower_model.confidence import calibration_error, probabilities
from flower_model.runtimes.openvino import resolve_precision
from training.arguments import add_data_root_argument
from training.calibration.recalibrate import load_run_photos
from training.data.outliers import calibration_outliers
from training.engine.inference import predict_photos
from training.reporting.evaluation import decode_source

Outputs = dict[str, tuple[np.ndarray, np.ndarray]]
"""Set of photos -> logits (photos, classes) and features (photos, channels)."""


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="a weights folder made by training.train")
    parser.add_argument("--train", type=int, default=4000, help="training photos (default: all)")
    add_data_root_argument(parser)
    options = parser.parse_args()
    folder, root = Path(options.weights), Path(options.data_root)
    model = FlowerClassifier.from_pretrained(folder, runtime="openvino", precision="fp32")
    recipe, train, held_out = load_run_photos(model, folder, root)
    photos = {"held out": held_out}
    photos |= {source: decode_source(model, source, root) for source in recipe.data.calibrate}
    photos["training"] = train.sample(options.train)
    targets = {name: decoded.targets(model.labels) for name, decoded in photos.items()}
    outliers = calibration_outliers((root / "not-flowers", None), train.short_side, recipe)
    assert outliers.negatives
    photos["negatives"] = outliers.negatives

    columns: dict[str, dict[str, float]] = {}
    reference: Outputs = {}
    for precision in ("fp32", "bf16", "int8"):
        if precision == "bf16" and resolve_precision("auto") != "bf16":
            continue
        model = FlowerClassifier.from_pretrained(folder, runtime="openvino", precision=precision)
        outputs = {
            name: predict_photos(model.runtime, decoded, title=f"{precision}, {name}")
            for name, decoded in photos.items()
        }
        reference = reference or outputs
        columns[precision] = measure(outputs, reference, targets, model)
        print(precision, columns[precision], flush=True)
    print(format_table(columns))
    sizes = ", ".join(f"{len(decoded)} {name}" for name, decoded in photos.items())
    print(f"\n{describe_machine()}. Photos: {sizes}. Unseen: all but training and negatives.")


def measure(
    outputs: Outputs, reference: Outputs, targets: dict[str, np.ndarray], model: FlowerClassifier
) -> dict[str, float]:
    """Return the figures of a precision, fractions in [0, 1].

    Args:
        outputs: Outputs in this precision.
        reference: Outputs in fp32.
        targets: Class indices of each set but the negatives.
        model: The model, of which the temperature and the rejection rule are used.
    """
    unseen = [name for name in targets if name != "training"]
    figures: dict[str, float] = {}
    for title, names in (("unseen", unseen), ("all", list(targets))):
        logits, expected = (
            np.concatenate([found[name][0] for name in names]) for found in (outputs, reference)
        )
        truth = np.concatenate([targets[name] for name in names])
        probs = probabilities(logits, model.config.temperature)
        figures |= {
            f"top-1, {title}": float((logits.argmax(1) == truth).mean()),
            f"same label as fp32, {title}": float((logits.argmax(1) == expected.argmax(1)).mean()),
            f"calibration error, {title}": calibration_error(probs, truth),
            f"error of the logits, {title}": relative_error(logits, expected),
        }
    rule = model.rejection
    for title, names in (
        ("flowers accepted, unseen", unseen),
        ("negatives accepted", ["negatives"]),
    ):
        if rule:
            features = np.concatenate([outputs[name][1] for name in names])
            figures[title] = float((rule.flower_probability(features) >= rule.threshold).mean())
    return figures


def relative_error(logits: np.ndarray, expected: np.ndarray) -> float:
    """Return the squared error of logits (photos, classes), relative to their variance per photo."""
    centred, reference = (values - values.mean(1, keepdims=True) for values in (logits, expected))
    return float(((centred - reference) ** 2).sum() / (reference**2).sum())


def format_table(columns: dict[str, dict[str, float]]) -> str:
    """Return a Markdown table with a column for each precision."""
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for name in next(iter(columns.values())):
        cells = " | ".join(f"{100 * figures[name]:.2f} %" for figures in columns.values())
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
