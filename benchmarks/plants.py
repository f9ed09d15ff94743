"""Several photos of one plant: accuracy and calibration of one, two and three photos.

    python -m benchmarks.plants

benchmarks/plants.csv lists series of photos that show one plant or one planting: photos of one class
among the five-class photos whose Flickr ids are close, checked by eye. The shipped weights were trained
on most of them; instead, the head of a linear probe on the ImageNet weights is fitted in five folds, each
without the series that it is tested on. Writes benchmarks/results/plants.md. Requires FLOWER_DATA and
FLOWER_PRETRAINED.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.machine import RESULTS, ROOT
from flower_model import FlowerClassifier
from flower_model.confidence import calibration_error, fit_temperature, probabilities
from flower_model.plant import INDEPENDENCE, combine_logits, photo_outputs, stack_outputs
from training.data.folders import Photo
from training.data.sources import source_photos
from training.engine.linear_probe import fit_head
from training.recipe import load_recipe

SOURCES = ("flowers102-all:train", "flowers102-all:val", "flowers5:train", "flowers5:val")
FOLDS = 5
EXPONENTS = (0.0, 0.25, INDEPENDENCE, 0.75, 1.0)
Combine = Callable[[np.ndarray], np.ndarray]  # logits (photos, classes) -> probabilities (classes,)


def main() -> None:
    """Run the benchmark."""
    photos = load_photos()
    model = FlowerClassifier.from_pretrained(os.environ["FLOWER_PRETRAINED"])
    paths = [photo.path for photo in photos]
    features = stack_outputs(photo_outputs(paths, model.to_pixels, model.runtime)).features
    labels = sorted({photo.label for photo in photos})
    targets = np.array([labels.index(photo.label) for photo in photos])
    plants = find_plants(photos)
    fold = assign_folds(photos, plants)
    logits = np.zeros((len(photos), len(labels)), np.float32)
    for number in range(FOLDS):
        fit, test = fold != number, fold == number
        weight, bias = fit_head(features[fit], targets[fit], l2=0.003, balance=0.7)
        logits[test] = features[test] @ weight.T + bias
    others = fold >= 0
    others[np.concatenate(plants)] = False
    temperature = fit_temperature(logits[others], targets[others])
    text = report([logits[plant] for plant in plants], [targets[p[0]] for p in plants], temperature)
    print(text)
    (RESULTS / "plants.md").write_text(text, encoding="utf-8")


def load_photos() -> list[Photo]:
    """Return the photos of all 103 classes."""
    data, root = load_recipe("flowers103-snapshots").data, Path(os.environ["FLOWER_DATA"])
    return [photo for source in SOURCES for photo in source_photos(source, root, data)]


def find_plants(photos: list[Photo]) -> list[list[int]]:
    """Return the indices of the photos of each plant."""
    index = {_flickr_id(photo): number for number, photo in enumerate(photos)}
    plants: dict[str, list[int]] = defaultdict(list)
    with (ROOT / "benchmarks" / "plants.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            plants[row["plant"]].append(index[row["flickr_id"]])
    return list(plants.values())


def assign_folds(photos: list[Photo], plants: list[list[int]]) -> np.ndarray:
    """Return a fold for each five-class photo, the same for all of a plant, and -1 for others."""
    generator = np.random.default_rng(0)
    fold = generator.integers(0, FOLDS, len(photos))
    for plant in plants:
        fold[plant] = fold[plant[0]]
    fold[["flowers5" not in photo.path.parts for photo in photos]] = -1
    return fold


def report(plants: list[np.ndarray], targets: list[int], temperature: float) -> str:
    """Return a table of all ways to combine `plants`, logits (photos, classes)."""
    lines = [
        *(
            "# Several photos of one plant",
            "",
            "`python -m benchmarks.plants`: " + _summary(plants),
        ),
        "",
        "| photos | plants | combined by | top-1 | log loss | calibration error |",
        "| ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for count in (1, 2, 3):
        ways = _ways(temperature)
        for name, combine in ways.items() if count > 1 else [("", next(iter(ways.values())))]:
            enough = [(p, t) for p, t in zip(plants, targets, strict=True) if len(p) >= count]
            accuracy, loss, error = evaluate(enough, count, combine)
            spread = f"± {100 * accuracy.std() / len(enough) ** 0.5:.1f}"
            lines.append(
                f"| {count} | {len(enough)} | {name} | {100 * accuracy.mean():.1f} {spread} % "
                f"| {loss:.3f} | {100 * error:.1f} % |"
            )
    for count in (2, 3):
        lines += ["", _gain(plants, targets, temperature, count)]
    return "\n".join(lines) + "\n"


def evaluate(
    plants: list[tuple[np.ndarray, int]], count: int, combine: Combine
) -> tuple[np.ndarray, float, float]:
    """Return top-1 accuracy (plants,), log loss and calibration error over all choices of photos."""
    accuracy, losses, all_probs, all_targets = [], [], [], []
    for logits, target in plants:
        choices = combinations(range(len(logits)), count)
        probs = np.array([combine(logits[list(choice)]) for choice in choices])
        accuracy.append((probs.argmax(axis=1) == target).mean())
        losses.append(-np.log(probs[:, target] + 1e-12).mean())
        all_probs.append(probs)
        all_targets += [target] * len(probs)
    error = calibration_error(np.concatenate(all_probs), np.array(all_targets))
    return np.array(accuracy), float(np.mean(losses)), error


def _ways(temperature: float) -> dict[str, Combine]:
    def power(exponent: float) -> Combine:
        def combine(logits: np.ndarray) -> np.ndarray:
            combined = combine_logits(logits, temperature, exponent)
            row: np.ndarray = probabilities(combined[None], temperature)[0]
            return row

        return combine

    def mean(logits: np.ndarray) -> np.ndarray:
        row: np.ndarray = probabilities(logits, temperature).mean(axis=0)
        return row

    names = {exponent: f"mean log-probability x photos^{exponent:g}" for exponent in EXPONENTS}
    names[INDEPENDENCE] = f"**{names[INDEPENDENCE]}**"
    return {names[exponent]: power(exponent) for exponent in EXPONENTS} | {"mean probability": mean}


def _gain(plants: list[np.ndarray], targets: list[int], temperature: float, count: int) -> str:
    combine = next(way for name, way in _ways(temperature).items() if name.startswith("**"))
    enough = [(p, t) for p, t in zip(plants, targets, strict=True) if len(p) >= count]
    gain = evaluate(enough, count, combine)[0] - evaluate(enough, 1, combine)[0]
    generator = np.random.default_rng(0)
    means = [generator.choice(gain, len(gain)).mean() for _ in range(10_000)]
    low, high = 100 * np.percentile(means, [2.5, 97.5])
    return (
        f"{count} photos against one of the same {len(enough)} plants: {100 * gain.mean():+.1f} points "
        f"top-1 (95 % interval {low:+.1f} to {high:+.1f}, resampling plants)."
    )


def _summary(plants: list[np.ndarray]) -> str:
    return (
        f"{sum(map(len, plants))} photos of {len(plants)} plants or plantings of five classes, series "
        "uploaded to Flickr together\nand checked by eye. Names among 103 classes by a linear probe that "
        "has not seen the plant. Every plant weighs the same."
    )


def _flickr_id(photo: Photo) -> str:
    return photo.path.stem.partition("_")[0]


if __name__ == "__main__":
    main()
