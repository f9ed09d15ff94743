"""Teaching: species left out of a head are re-taught from 1, 3, 5 and 10 photos.

    python -m benchmarks.teach --features features

Twice: with the shipped network, which saw these species in its training and so flatters the result,
and with ImageNet weights that have seen none of them, whose head is fitted to the other species. Writes
benchmarks/results/teach.md. Requires the photos of the shipped model's run, packed as in
docs/shipped-model.md, and FLOWER_PRETRAINED. Features are kept in the folder --features.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import RESULTS, ROOT, describe_machine
from benchmarks.teach_trials import PHOTOS, Features, Trial, make_trials
from flower_model import FlowerClassifier
from flower_model.rejection import l2_normalise
from flower_model.runtimes.base import Compute, Runtime
from flower_model.serialization.references import PER_CLASS
from flower_model.teaching.acceptance import accept_flower
from flower_model.teaching.head import Head, fit_row, read_head
from flower_model.teaching.lesson import give_lesson
from training.calibration.recalibrate import load_run_photos
from training.calibration.rejection_fit import fit_rejection
from training.calibration.synthetic import as_photos, drawn_pictures, foliage
from training.data.decoded import DecodedPhotos
from training.data.outliers import calibration_outliers
from training.engine.inference import fastest_runtime, predict_photos
from training.engine.linear_probe import fit_head
from training.engine.pretrained import create_network
from training.reporting.evaluation import decode_source

SHIPPED, IMAGENET = "shipped network (saw the species)", "ImageNet weights (never saw them)"


def ours(trial: Trial, count: int, per_class: int = PER_CLASS) -> Head:
    """Teach the species as the package does."""
    names = [str(index) for index in range(len(trial.train))]
    references = trial.references(per_class)
    return give_lesson("new", trial.photos[:count], trial.head, references, names, None)[1]


def without_raise(trial: Trial, count: int) -> Head:
    """Fit the new row, and leave its bias as it is."""
    known, new = trial.references().features.astype(np.float32), trial.photos[:count]
    return trial.head.with_row(*fit_row(known, trial.head(known), new, trial.head(new)))


def imprinting(trial: Trial, count: int) -> Head:
    """Take the mean direction of the photos at the norm of the other rows (Qi et al. 2018)."""
    centre = trial.references().features.astype(np.float32).mean(0)
    direction = l2_normalise(l2_normalise(trial.photos[:count] - centre).mean(0, keepdims=True))[0]
    row = direction * np.linalg.norm(trial.head.weight, axis=1).mean()
    return trial.head.with_row(row, float(trial.head.bias.mean() - row @ centre))


def whole_head(trial: Trial, count: int) -> Head:
    """Fit all rows anew to the references and the photos."""
    known, new = trial.references(), trial.photos[:count]
    features = np.concatenate([known.features.astype(np.float32), new])
    targets = np.append(known.targets, np.full(count, len(trial.train)))
    return Head(*fit_head(features, targets, l2=1e-3, balance=0.7))


METHODS: dict[str, Callable[[Trial, int], Head]] = {
    "**new row, bias raised**": ours,
    "new row": without_raise,
    "imprinting": imprinting,
    "whole head (five species)": whole_head,
}


def accuracy_rows(name: str, trials: list[Trial]) -> list[str]:
    """Return a table row for each number of photos, and one for each number of references."""
    rows = []
    for count, per_class in [*((k, PER_CLASS) for k in PHOTOS), (5, 5), (5, 20)]:
        found, lessons = [], []
        for trial in trials:
            names = [str(index) for index in range(len(trial.train))]
            lesson, head = give_lesson(
                "new", trial.photos[:count], trial.head, trial.references(per_class), names, None
            )
            found.append(trial.measure(head))
            lessons.append(
                (100 * lesson.correct / count, 100 * sum(lesson.lost.values()) / lesson.references)
            )
        left_out, lost = np.mean(lessons, axis=0)
        estimate = f"{left_out:.1f} %" if count > 1 else "–"
        rows.append(
            f"| {name} | {count} | {per_class} | {_spread(found, 0)} | {estimate} | {_spread(found, 1)} | {lost:.2f} % |"
        )
        print(rows[-1], flush=True)
    return rows


def method_rows(name: str, trials: list[Trial]) -> list[str]:
    """Return a table row for each method, with five photos."""
    rows = []
    for method, teach in METHODS.items():
        tried = trials[:5] if teach is whole_head else trials  # it takes long
        found = [trial.measure(teach(trial, 5)) for trial in tried]
        rows.append(f"| {name} | {method} | {_spread(found, 0)} | {_spread(found, 1)} |")
        print(rows[-1], flush=True)
    return rows


def rejection_rows(name: str, f: Features, trials: list[Trial]) -> list[str]:
    """Return table rows with the photos that a rule accepts that was fitted without the species."""
    half, unseen = np.array_split(f["negatives"], 2)
    flowers = np.concatenate(trials[0].train)
    rule = fit_rejection(flowers[:2000], trials[0].others, half, f["synthetic"])
    found = {count: [] for count in (0, *PHOTOS)}
    for trial in trials:
        for count, rates in found.items():
            extended = accept_flower(rule, trial.photos[:count]) if count else rule
            rates.append(
                [
                    100 * float((extended.flower_probability(photos) >= rule.threshold).mean())
                    for photos in (trial.test, unseen)
                ]
            )
    rows = [f"| {name} | {k} | {_spread(r, 0)} | {_spread(r, 1)} |" for k, r in found.items()]
    print(*rows, sep="\n", flush=True)
    return rows


def load_features(
    options: argparse.Namespace, name: str, make: Callable[[FlowerClassifier], Runtime]
) -> Features:
    """Return features and classes of all photos, from the folder --features if they are there."""
    path = options.features / f"{name}.npz"
    if path.exists():
        return dict(np.load(path))
    model = FlowerClassifier.from_pretrained(options.weights)
    recipe, train, held_out = load_run_photos(model, options.weights, options.data_root)
    folders = options.data_root / "not-flowers", None
    negatives = calibration_outliers(folders, train.short_side, recipe).negatives
    assert negatives
    parts = [held_out, *(decode_source(model, s, options.data_root) for s in recipe.data.calibrate)]
    runtime = make(model)

    def features(photos: DecodedPhotos, title: str) -> np.ndarray:
        return predict_photos(runtime, photos, title=title)[1]

    found = {
        "train": features(train, "training photos"),
        "train_y": train.targets(model.labels),
        "held_out": np.concatenate([features(part, "held-out photos") for part in parts]),
        "held_out_y": np.concatenate([part.targets(model.labels) for part in parts]),
        "negatives": features(negatives, "negatives"),
        "synthetic": features(as_photos([*drawn_pictures(), *foliage(train)]), "synthetic"),
    }
    options.features.mkdir(parents=True, exist_ok=True)
    np.savez(path, **found)
    return found


def main() -> None:
    """Run the benchmark and write its results page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=ROOT / "weights")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("FLOWER_DATA", "data"))
    parser.add_argument("--pretrained", default=os.environ.get("FLOWER_PRETRAINED"))
    parser.add_argument("--features", type=Path, default=Path("features"))
    parser.add_argument("--species", type=int, default=20, help="species left out together")
    parser.add_argument("--draws", type=int, default=3, help="draws of species")
    options = parser.parse_args()

    def imagenet(model: FlowerClassifier) -> Runtime:
        recipe = load_run_photos(model, options.weights, options.data_root)[0]
        chosen = recipe.model.model_copy(update={"pretrained": options.pretrained})
        return fastest_runtime(create_network(chosen, len(model.labels)), Compute("cpu", "bf16"))

    networks = {
        SHIPPED: load_features(options, "shipped", lambda model: model.runtime),
        IMAGENET: load_features(options, "imagenet", imagenet),
    }
    shipped_head = read_head(options.weights, int(networks[SHIPPED]["train_y"].max()) + 1)
    tables: list[list[str]] = [[], [], []]
    for name, f in networks.items():
        head = shipped_head if name == SHIPPED else None
        draws = [*make_trials(f, head, options.species, options.draws)]
        everything = [trial for draw in draws for trial in draw]
        tables[0] += accuracy_rows(name, everything)
        tables[1] += method_rows(name, everything)
        tables[2] += rejection_rows(name, f, draws[0])
    report(tables, options.species, options.draws)


def report(tables: list[list[str]], species: int, draws: int) -> None:
    """Write the results page."""
    accuracy, methods, rejection = ("\n".join(rows) for rows in tables)
    text = f"""# Teaching a class from a few photos

Made by `python -m benchmarks.teach` on {describe_machine()}. {species} of the 103 species are left out of the head, in
{draws} draws, and each is re-taught alone, from photos of the training set. It is tested on its other photos; what the
others lose is measured on the held-out photos of the classes that stayed. ± is the standard deviation over the species.

The shipped network was trained on these species, which flatters it. The ImageNet weights have never seen a labelled photo
of them, but weren't tuned on flowers either. A flower that is new to the shipped network should lie between the two.

## By the number of photos

"Left out" and "lost, estimated" are the figures that the command and the page show: of the photos in turn, and of the
references.

| network | photos | references a class | accuracy | left out | others lose, points | lost, estimated |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{accuracy}

## By method, five photos

| network | method | accuracy | others lose, points |
| --- | --- | ---: | ---: |
{methods}

## Rejection rule

Fitted without the species of one draw, and extended by the photos it is taught from: the photos of the species, and the
negatives that it was not fitted on, that are accepted as flowers.

| network | photos | species accepted | negatives accepted |
| --- | ---: | ---: | ---: |
{rejection}
"""
    (RESULTS / "teach.md").write_text(text, encoding="utf-8")


def _spread(found: list[tuple[float, float]] | list[list[float]], column: int) -> str:
    values = np.array(found)[:, column]
    return (
        f"{values.mean():.1f} ± {values.std():.1f} %"
        if column == 0
        else f"{values.mean():.2f} ± {values.std():.2f}"
    )


if __name__ == "__main__":
    main()
