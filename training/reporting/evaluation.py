"""Accuracy and calibration of a model on sources of labelled photos, with confidence intervals."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from flower_model import FlowerClassifier
from flower_model.confidence import BINS, confidence_bins, probabilities
from flower_model.errors import DataError
from training.data.decoded import DecodedPhotos, decode_photos
from training.data.folders import Photo
from training.data.labels import match_labels
from training.data.sources import check_labels, source_photos
from training.data.training_record import count_trained_on
from training.engine.inference import predict_photos
from training.recipe import Data
from training.reporting.metrics import compute_metrics

CONFIDENCE_LEVEL = 0.95
RESAMPLES = 2000
SOURCE_PREFIX = re.compile(r"([^\W\d_][^\W_]*)[-_ ]")  # "inaturalist-0012.jpg": inaturalist


def evaluate(
    model: FlowerClassifier, source: str, data_root: Path, record: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Evaluate a model on one source of labelled photos.

    Args:
        model: The model.
        source: "flowers102:test" or another split, or a folder of class folders. Class names are
            matched to the model's labels after applying the renames of the model's recipe.
        data_root: Folder that a relative source is resolved against, unless the source exists in
            the current directory.
        record: Digests of the model's training photos, see `training.data.training_record`.

    Returns:
        source; the metrics of `training.reporting.metrics.compute_metrics`; the numbers of photos, of
        classes among them and of the model's labels; intervals, the 95 % bootstrap interval
        (low, high) of top1, top5 and calibration_error; resampled, the unit of the bootstrap
        ("412 photos" or "9 groups"); trained_on, the number of photos that are in the record; and
        skipped, one sentence per photo that can't be opened.

    Raises:
        FlowerModelError: If the model or the data can't be read, or a class isn't among the
            model's labels.
    """
    exists_here = Path(source.partition(":")[0]).is_dir()
    decoded = decode_source(model, source, Path() if exists_here else data_root)
    logits, _ = predict_photos(model.runtime, decoded, title="evaluating")
    targets = decoded.targets(model.labels)
    groups = source_groups(decoded.photos)
    grouped = len(set(groups)) < len(groups)
    return {
        "source": source,
        "photos": len(targets),
        "classes": len(set(targets.tolist())),
        "labels": len(model.labels),
        **compute_metrics(logits, targets, model.config.temperature),
        "intervals": bootstrap_intervals(logits, targets, groups, model.config.temperature),
        "resampled": f"{len(set(groups))} {'groups' if grouped else 'photos'}",
        "trained_on": count_trained_on(decoded.photos, record),
        "skipped": decoded.skipped,
    }


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `evaluate` as a Markdown table with aligned columns."""

    def interval(row: dict[str, Any], key: str) -> str:
        low, high = row["intervals"][key]
        return f"{100 * row[key]:.2f} ({100 * low:.1f}–{100 * high:.1f})"

    columns = {
        "source": [row["source"] for row in rows],
        "photos": [str(row["photos"]) for row in rows],
        "top-1 %": [interval(row, "top1") for row in rows],
        "top-5 %": [interval(row, "top5") for row in rows],
        "mean per class %": [f"{100 * row['mean_per_class']:.2f}" for row in rows],
        "log loss": [f"{row['log_loss']:.3f}" for row in rows],
        "calibration error %": [interval(row, "calibration_error") for row in rows],
        "resampled": [row["resampled"] for row in rows],
    }
    widths = [max(map(len, [name, *cells])) for name, cells in columns.items()]
    lines = [list(columns), ["-" * width for width in widths], *zip(*columns.values(), strict=True)]
    padded = ([c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in lines)
    table = [f"| {' | '.join(cells)} |" for cells in padded]
    note = f"In parentheses: {100 * CONFIDENCE_LEVEL:.0f} % bootstrap confidence intervals."
    return "\n".join([*table, "", note])


def bootstrap_intervals(
    logits: np.ndarray, targets: np.ndarray, groups: Sequence[str], temperature: float = 1.0
) -> dict[str, tuple[float, float]]:
    """Return 95 % bootstrap intervals of top1, top5 and calibration_error, all in [0, 1].

    Args:
        logits: (photos, classes) float, before division by the temperature.
        targets: (photos,) int class indices.
        groups: The group of each photo; whole groups are resampled (cluster bootstrap).
        temperature: > 0.
    """
    probs = probabilities(logits, temperature)
    hits = np.argsort(-logits, axis=1)[:, :5] == targets[:, None]  # (photos, at most 5)
    gaps = np.zeros((len(targets), BINS))
    gaps[np.arange(len(targets)), confidence_bins(probs)] = hits[:, 0] - probs.max(axis=1)
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)

    # Every statistic is a function of sums over photos, so resampling needs only sums per group.
    def per_group(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((group_of.max() + 1, values.shape[1]))
        np.add.at(sums, group_of, values)
        return sums

    sizes = per_group(np.ones((len(targets), 1)))
    sums = {
        "top1": per_group(hits[:, :1]),
        "top5": per_group(hits.any(axis=1, keepdims=True)),
        "calibration_error": per_group(gaps),
    }
    if len(sizes) < 2:  # nothing to resample: any value is possible
        return dict.fromkeys(sums, (0.0, 1.0))
    intervals = {}
    for name, parts in sums.items():

        def statistic(drawn: np.ndarray, axis: int, parts: np.ndarray = parts) -> np.ndarray:
            of_photos = np.abs(parts[drawn].sum(-2)).sum(-1) / sizes[drawn].sum((-2, -1))
            return of_photos

        found = bootstrap(
            (np.arange(len(sizes)),),
            statistic,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=50,
            confidence_level=CONFIDENCE_LEVEL,
            # Resampling adds noise to every bin and so inflates this error; "basic" reverses the bias.
            method="basic" if name == "calibration_error" else "percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        low, high = np.clip([found.low, found.high], 0, 1)
        intervals[name] = (float(low), float(high))
    return intervals


def source_groups(photos: Sequence[Photo]) -> list[str]:
    """Return the group of each photo: the source that its file name begins with, else itself.

    A prefix such as "inaturalist" of "inaturalist-0012.jpg" counts as a source if every file has
    one and the prefixes repeat, and if it isn't merely the name of the class.
    """
    found = [SOURCE_PREFIX.match(photo.path.name) for photo in photos]
    prefixes = [match[1].casefold() if match else "" for match in found]
    pairs = zip(photos, prefixes, strict=True)
    are_classes = all(photo.label.casefold().startswith(prefix) for photo, prefix in pairs)
    if all(prefixes) and not are_classes and 2 <= len(set(prefixes)) <= len(photos) / 2:
        return prefixes
    return [str(number) for number in range(len(photos))]


def decode_source(model: FlowerClassifier, source: str, data_root: Path) -> DecodedPhotos:
    """Decode the photos of a source, labelled with the model's labels; see `evaluate`.

    Raises:
        DataError: If there is no such source, none of its photos can be opened, or a class isn't
            among the model's labels.
    """
    recipe = model.config.details.get("recipe", {})
    # The model's renames, and the split that its run made: "FOLDER:val" is what it held out.
    used = ("rename", "val_fraction", "split_seed")
    settings = {key: value for key, value in recipe.get("data", {}).items() if key in used}
    data = Data(train=(source,), val=(source,), **settings)
    photos = match_labels(source_photos(source, data_root, data), model.config)
    check_labels(photos, source, model.labels)
    decoded = decode_photos(photos, model.photo_transform.short_side)
    if not len(decoded):
        raise DataError(
            f"None of the {len(photos)} photos of '{source}' can be opened. Replace them."
        )
    return decoded
