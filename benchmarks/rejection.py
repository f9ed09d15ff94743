"""Out-of-distribution detection: ways to reject non-flower photos, and flowers of unknown species.

    python -m benchmarks.rejection

Uses the features and logits of the shipped model. Each method is fitted on one half of the held-out
flowers and the negatives and evaluated on the other half, for several random splits. A second table
is about the harder problem, flowers of species that the model was not trained on. Writes
benchmarks/results/rejection.md. Requires FLOWER_DATA, with non-flower photos, and FLOWER_PRETRAINED.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.machine import RESULTS, ROOT, describe_machine
from benchmarks.ood_scores import Outputs, Score, fit_on_flowers
from flower_model import FlowerClassifier
from flower_model.rejection import l2_normalise, power_normalise
from flower_model.runtimes.base import Compute
from training.calibration.fit import MAX_TRAIN_PHOTOS
from training.calibration.recalibrate import load_run_photos
from training.calibration.rejection_fit import (
    auroc,
    evaluate_rejection,
    fit_residual,
    fit_support_vectors,
)
from training.calibration.synthetic import as_photos, drawn_pictures, foliage
from training.data.decoded import DecodedPhotos, decode_photos, resize_side
from training.data.outliers import not_flowers
from training.data.sources import source_photos
from training.engine.inference import fastest_runtime, predict_photos
from training.engine.pretrained import create_network
from training.recipe import load_recipe
from training.reporting.evaluation import decode_source

SPLITS = 5
UNKNOWN = 10  # species left out in each split


USES_NEGATIVES = {"logistic regression", "**support vectors**"}


def fit_all(
    train: Outputs, held_out: Outputs, negatives: Outputs, synthetic: np.ndarray
) -> dict[str, Score]:
    """Fit every method; its score is higher for flowers. The last two are fitted on negatives too."""
    flowers = np.concatenate([train.features, held_out.features])
    others = np.concatenate([negatives.features, synthetic])
    residual = fit_residual(train.features)
    machine = fit_support_vectors(flowers, others)
    logistic = LogisticRegression(C=100, class_weight="balanced", max_iter=2000).fit(
        power_normalise(np.concatenate([flowers, others])),
        np.repeat([1, 0], [len(flowers), len(others)]),
    )
    return fit_on_flowers(train) | {
        "residual (the rule without negatives)": lambda f, _: residual.score(f),
        "logistic regression": lambda f, _: power_normalise(f) @ logistic.coef_[0],
        "**support vectors**": lambda f, _: machine.score(f),
    }


def compare(
    train: Outputs, held_out: Outputs, negatives: Outputs, synthetic: np.ndarray
) -> list[str]:
    """Return a table row for every method."""
    found: dict[str, list[tuple[float, float]]] = {}
    micros: dict[str, tuple[float, float]] = {}
    for seed in range(SPLITS):
        for fit, unseen in _halves(seed, len(held_out.features), len(negatives.features)):
            scores = fit_all(train, held_out.take(fit[0]), negatives.take(fit[1]), synthetic)
            flowers, rest = held_out.take(unseen[0]), negatives.take(unseen[1])
            for name, score in scores.items():
                a, b = score(*flowers[:2]), score(*rest[:2])
                accepted = float((b >= np.quantile(a, 0.02)).mean())
                found.setdefault(name, []).append((auroc(a, b), accepted))
                if name not in micros:
                    micros[name] = (
                        _micros(score, flowers.features[:64], flowers.logits[:64]),
                        _micros(score, flowers.features[:1], flowers.logits[:1]),
                    )
    rows = []
    for name, pairs in found.items():
        (area, accepted), spread = np.mean(pairs, axis=0), np.std([p[1] for p in pairs])
        negatives_used = "yes" if name in USES_NEGATIVES else "no"
        batch, single = micros[name]
        rows.append(
            f"| {name} | {negatives_used} | {area:.4f} | {100 * accepted:.1f} ± {100 * spread:.1f} % "
            f"| {batch:.0f} | {single:.0f} |"
        )
        print(rows[-1], flush=True)
    return rows


def evaluate_shipped_rule(
    train: Outputs, held_out: Outputs, negatives: Outputs, synthetic: np.ndarray
) -> list[str]:
    """Return table rows for the complete rule with its own threshold, by the size of its fit."""
    rows = []
    for parts, name in ((2, "one half"), (5, "four fifths")):
        found = []
        for seed in range(SPLITS if parts == 2 else 2):
            rng = np.random.default_rng(seed)
            folds = [
                [
                    outputs.features[part]
                    for part in np.array_split(rng.permutation(len(outputs[0])), parts)
                ]
                for outputs in (held_out, negatives)
            ]
            metrics = evaluate_rejection(train.features, *folds, synthetic)
            found.append([metrics[k] for k in ("flowers_kept", "others_let_through", "auroc")])
        kept, accepted, area = np.mean(found, axis=0)
        rows.append(f"| {name} | {100 * kept:.1f} % | {100 * accepted:.1f} % | {area:.4f} |")
        print(rows[-1], flush=True)
    return rows


def unknown_species(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray]
) -> list[str]:
    """Return a table row for every method without negatives, on species that were left out.

    Args:
        train, val: Features and class indices of Oxford's splits, from a network that was not
            trained on them. A linear head is fitted on the train split without ten species.
    """
    found: dict[str, list[float]] = {}
    for seed in range(SPLITS):
        (features, targets), (new, new_targets) = train, val
        left_out = np.random.default_rng(seed).choice(targets.max() + 1, UNKNOWN, replace=False)
        keep = ~np.isin(targets, left_out)
        head = LogisticRegression(C=1, max_iter=500).fit(
            l2_normalise(features[keep]) * 10, targets[keep]
        )
        logits = [head.decision_function(l2_normalise(part) * 10) for part in (features[keep], new)]
        known = Outputs(features[keep], logits[0], targets[keep])
        residual = fit_residual(known.features)
        scores = fit_on_flowers(known) | {"residual": lambda f, _, r=residual: r.score(f)}
        is_new = np.isin(new_targets, left_out)
        for name, score in scores.items():
            result = score(new, logits[1])
            found.setdefault(name, []).append(auroc(result[~is_new], result[is_new]))
    rows = [f"| {n} | {np.mean(a):.3f} | {min(a):.3f} to {max(a):.3f} |" for n, a in found.items()]
    print(*rows, sep="\n", flush=True)
    return rows


def predict_with_pretrained(
    data_root: Path, pretrained: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return features and class indices of Oxford's train and val splits from pretrained weights."""
    recipe = load_recipe("flowers103", {"model": {"pretrained": pretrained}})
    network = create_network(recipe.model, num_classes=102)
    runtime = fastest_runtime(network, Compute("cpu", "bf16"))
    splits = []
    for split in ("train", "val"):
        photos = source_photos(f"flowers102:{split}", data_root, recipe.data)
        side = resize_side(recipe.model.test_size, recipe.model.crop)
        decoded = decode_photos(photos, side, "decoding")
        _, features = predict_photos(runtime, decoded, title=split)
        splits.append((features, decoded.targets(sorted({p.label for p in photos}))))
    return splits


def main() -> None:
    """Run the benchmark and write its results page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=ROOT / "weights")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("FLOWER_DATA", "data"))
    parser.add_argument("--pretrained", default=os.environ.get("FLOWER_PRETRAINED"))
    options = parser.parse_args()
    model = FlowerClassifier.from_pretrained(options.weights)
    recipe, train, held_out = load_run_photos(model, options.weights, options.data_root)
    train = train.sample(MAX_TRAIN_PHOTOS)
    more = [decode_source(model, name, options.data_root) for name in recipe.data.calibrate]
    flowers = [predict(model, photos) for photos in (held_out, *more)]
    flower = Outputs(*(np.concatenate(part) for part in zip(*flowers, strict=True)))
    side = model.photo_transform.short_side
    files = not_flowers(options.data_root / "not-flowers")
    negatives = predict(model, decode_photos(files, side, "decoding"), labelled=False)
    synthetic = predict(
        model, as_photos([*drawn_pictures(), *foliage(train)]), labelled=False
    ).features
    trained = predict(model, train)
    rows = compare(trained, flower, negatives, synthetic)
    shipped = evaluate_shipped_rule(trained, flower, negatives, synthetic)
    unknown = unknown_species(*predict_with_pretrained(options.data_root, options.pretrained))
    counts = (len(flower.features), len(negatives.features), len(synthetic))
    report(rows, shipped, unknown, counts)


def predict(model: FlowerClassifier, photos: DecodedPhotos, *, labelled: bool = True) -> Outputs:
    """Return the model's outputs on photos, without class indices if they are not labelled."""
    logits, features = predict_photos(model.runtime, photos, title="predicting")
    targets = photos.targets(model.labels) if labelled else np.empty(0, np.int64)
    return Outputs(features, logits, targets)


def report(
    rows: list[str], shipped: list[str], unknown: list[str], counts: tuple[int, int, int]
) -> None:
    """Write the results page."""
    flowers, negatives, synthetic = counts
    cores = describe_machine()
    text = f"""# Rejection of non-flower photos

Made by `python -m benchmarks.rejection` on {cores}, with {flowers} flower photos that the shipped network
was not trained on and {negatives} non-flower photos (negatives). Each method is fitted on one half of both, together
with {MAX_TRAIN_PHOTOS} training photos and {synthetic} synthetic negatives (drawn pictures and pieces of foliage), and
evaluated on the other half, in both directions of {SPLITS} random splits. "Accepted" is the fraction of negatives
that score above the lowest 2 % of that half's flowers (mean ± standard deviation). The times are µs per
photo in a batch of 64 and alone, the best of 30 repeats.

| method | fitted on negatives | area under the ROC curve | accepted at 98 % of flowers kept | µs, batch | µs, alone |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

The shipped rule sets its own threshold by cross-validation within the photos that it is fitted on. It
improves with their number; the rule in the weights folder is fitted on all of them.

| fitted on | flowers kept | negatives accepted | area under the ROC curve |
| --- | --- | --- | --- |
{chr(10).join(shipped)}

## Flowers of unknown species

A harder problem, for which the model makes no claim. Since the shipped network was trained on all of
Oxford's species, this is measured on a network that was trained on none of them: ImageNet features with a
linear head, fitted on Oxford's train split without {UNKNOWN} of its 102 species, for {SPLITS} random choices of
them. Known against unknown species on Oxford's val split:

| method | area under the ROC curve, mean | range |
| --- | --- | --- |
{chr(10).join(unknown)}
"""
    (RESULTS / "rejection.md").write_text(text, encoding="utf-8")


def _halves(seed: int, *sizes: int) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    rng = np.random.default_rng(seed)
    cut = [np.array_split(rng.permutation(size), 2) for size in sizes]
    first, second = ([half[side] for half in cut] for side in (0, 1))
    return [(first, second), (second, first)]


def _micros(score: Score, features: np.ndarray, logits: np.ndarray) -> float:
    times = []
    for _ in range(30):
        start = time.perf_counter()
        score(features, logits)
        times.append(time.perf_counter() - start)
    return 1e6 * float(min(times)) / len(features)


if __name__ == "__main__":
    main()
