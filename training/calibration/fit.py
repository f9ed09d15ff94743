"""Fit temperature and rejection rule on held-out photos, and evaluate both by cross-validation."""

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from flower_model import FlowerClassifier
from flower_model.confidence import calibration_error, fit_temperature, probabilities
from flower_model.errors import DataError, shorten
from flower_model.rejection import Rejection
from training.calibration.rejection_fit import (
    FOLDS,
    MIN_HELD_OUT,
    evaluate_rejection,
    fit_rejection,
)
from training.data.decoded import DecodedPhotos, decode_photos, resize_side
from training.data.negatives import as_photos, drawn_pictures, foliage, not_flowers
from training.data.sources import digest, folds
from training.data.style import snapshot
from training.engine.inference import predict_photos
from training.recipe import Recipe
from training.reporting.evaluation import decode_source
from training.reporting.failure import report_failure
from training.reporting.figures import plot_confusion_matrix, plot_reliability
from training.reporting.metrics import (
    calibration_error_by_chance,
    compute_metrics,
    per_class,
    reliability,
)
from training.reporting.provenance import public_source_name, round_metrics

MIN_PHOTOS = 20  # different photos for a temperature; for a rule, flowers and negatives each
MAX_TRAIN_PHOTOS = 2000  # for the rejection rule; twice as many don't improve it


@dataclass(frozen=True)
class HeldOut:
    """A model's outputs on photos that it was not trained on.

    Attributes:
        logits: (photos, classes) float32.
        features: (photos, channels) float32.
        targets: (photos,) int64 class indices; empty for negatives.
        fold: (photos,) cross-validation fold, 0 to FOLDS - 1.
        digests: (photos,) hashes of the files, equal for copies.
    """

    logits: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    fold: np.ndarray
    digests: np.ndarray


def calibrate(
    model: FlowerClassifier,
    recipe: Recipe,
    train: DecodedPhotos,
    held_out: DecodedPhotos,
    data_root: Path,
    negatives_folder: Path | None,
) -> list[HeldOut]:
    """Fit the temperature and the rejection rule of a model on held-out photos.

    The metrics in the details of its config are cross-validated: each fold of the photos is
    evaluated with a temperature and a rule that were fitted on the other folds. The model gets
    those that were fitted on all folds. Fewer than `MIN_PHOTOS` held-out photos fit no temperature
    (it stays 1), and the threshold of the rule then depends on training photos too.

    Args:
        model: The model. The details of its config describe its run and receive the metrics; its
            pictures receive the confusion matrix and the reliability diagram.
        recipe: The recipe of its run.
        train, held_out: The photos of its run.
        data_root: Folder that the recipe's other sources are resolved against.
        negatives_folder: Folder of non-flower photos; None if there is none.

    Returns:
        The outputs on the held-out photos, then on each other source of the recipe.

    Raises:
        DataError: If a source or `negatives_folder` is missing or too small.
    """
    photos = [held_out, *(decode_source(model, s, data_root) for s in recipe.data.calibrate)]
    fitting = [_predict(model, decoded) for decoded in photos]
    evaluated = dict(zip(recipe.data.calibrate, fitting[1:], strict=True))
    negatives = None
    if negatives_folder:
        negatives = _decode_negatives(
            model, negatives_folder, held_out_half=bool(recipe.data.negatives)
        )
    if recipe.finetune.has_style:
        snapshots = [_predict_snapshots(model, decoded) for decoded in photos]
        fitting += snapshots
        evaluated["snapshots"] = _join(snapshots)
    test_only = [s for s in recipe.data.test if s not in evaluated]
    evaluated |= {s: _predict(model, decode_source(model, s, data_root)) for s in test_only}

    fitted = _count_different(fitting) >= MIN_PHOTOS
    temperature, fold_temperatures = _fit_temperatures(fitting) if fitted else (1.0, [1.0] * FOLDS)
    details = dict(model.config.details)
    details["metrics"] = _evaluate(fitting[0], fold_temperatures)
    details["tests"] = {
        public_source_name(source): {"photos": len(outputs.targets)}
        | _evaluate(outputs, [temperature] * FOLDS if source in test_only else fold_temperatures)
        for source, outputs in evaluated.items()
    }
    all_outputs = [fitting[0], *evaluated.values()]
    predicted = np.concatenate([outputs.logits.argmax(1) for outputs in all_outputs])
    targets = np.concatenate([outputs.targets for outputs in all_outputs])
    details["per_class"] = per_class(predicted, targets, model.labels)
    with report_failure("The confusion matrix"):
        picture = plot_confusion_matrix(targets, predicted, model.labels)
        model.pictures["confusion-matrix.png"] = picture
    sources = [*details["held_out"]["sources"], *map(public_source_name, recipe.data.calibrate)]
    calibration = _evaluate_calibration(fitting, fold_temperatures)
    details["calibration"] = {"sources": sources, "fitted": fitted, **calibration}
    with report_failure("The reliability diagram"):
        model.pictures["reliability.png"] = plot_reliability(
            calibration["before"], calibration["after"] if fitted else None
        )

    model.rejection, metrics = _fit_rejection(model, train, fitting, negatives)
    details.pop("rejection", None)
    if model.rejection:
        details["rejection"] = metrics
    uses = ["the temperature"] * fitted + ["the rejection rule"] * bool(model.rejection)
    uses += ["the choice of the epoch"] * (recipe.finetune.keep == "best")
    details["held_out"] = {
        **details["held_out"],
        "used_for": " and ".join(uses) or "evaluation only",
    }
    model.config = replace(model.config, temperature=temperature, details=details)
    return all_outputs


def format_summary(model: FlowerClassifier) -> str:
    """Format the results of `calibrate` as a few lines of text."""
    details = model.config.details
    lines = [
        f"{name}: top-1 {100 * m['top1']:.2f} %, mean per class {100 * m['mean_per_class']:.2f} %, "
        f"log loss {m['log_loss']:.3f}, calibration error {100 * m['calibration_error']:.2f} %"
        for name, m in {"held out": details["metrics"], **details["tests"]}.items()
    ]
    c = details["calibration"]
    by_chance = f"{100 * c['error_by_chance']:.2f} % is expected by chance"
    lines.append(
        f"temperature {model.config.temperature:.3f}: calibration error of {c['photos']} photos "
        f"{100 * c['error_before']:.2f} % before, {100 * c['error']:.2f} % after; {by_chance}"
        if c["fitted"]
        else f"no temperature fitted: fewer than {MIN_PHOTOS} different held-out photos; "
        f"calibration error {100 * c['error']:.2f} %; {by_chance}"
    )
    rule = details.get("rejection")
    if rule is None:
        lines.append(f"no rejection rule fitted: fewer than {MIN_PHOTOS} different flower photos")
    else:
        kept = f"{100 * rule['flowers_kept']:.1f} % of {rule['flowers']} flowers kept"
        lines.append(f"rejection rule ({rule['method']}): {kept}, {_format_negatives(rule)}")
        if rule.get("threshold_from_training_photos"):
            lines.append(
                f"its threshold was set on training photos too: fewer than {MIN_HELD_OUT} were held out"
            )
    return "\n".join(lines)


def _format_negatives(rule: dict[str, Any]) -> str:
    if "others" not in rule:
        return "fitted and evaluated without non-flower photos (add some with --not-flowers)"
    return (
        f"{100 * rule['others_let_through']:.1f} % of {rule['others']} non-flower photos accepted, "
        f"AUROC {rule['auroc']:.4f}"
    )


def _predict(model: FlowerClassifier, photos: DecodedPhotos, *, labelled: bool = True) -> HeldOut:
    logits, features = predict_photos(model.runtime, photos, title="calibrating")
    targets = photos.targets(model.labels) if labelled else np.empty(0, np.int64)
    return HeldOut(logits, features, targets, folds(photos.photos, FOLDS), _digests(photos))


def _fit_temperatures(fitting: Sequence[HeldOut]) -> tuple[float, list[float]]:
    """Return the temperature, and for each fold the one that was fitted on the other folds."""
    logits, targets, fold = _concatenate(fitting)
    fold_temperatures = [
        fit_temperature(logits[fold != f], targets[fold != f]) for f in range(FOLDS)
    ]
    return fit_temperature(logits, targets), fold_temperatures


def _evaluate(outputs: HeldOut, fold_temperatures: Sequence[float]) -> dict[str, float]:
    scaled = _scale(outputs.logits, outputs.fold, fold_temperatures)
    return round_metrics(compute_metrics(scaled, outputs.targets))


def _evaluate_calibration(
    fitting: Sequence[HeldOut], fold_temperatures: Sequence[float]
) -> dict[str, Any]:
    logits, targets, fold = _concatenate(fitting)
    before = probabilities(logits)
    after = probabilities(_scale(logits, fold, fold_temperatures))
    by_chance, by_bad_luck = calibration_error_by_chance(after)
    metrics = {
        "photos": len(targets),
        "error_before": calibration_error(before, targets),
        "error": calibration_error(after, targets),
        "error_by_chance": by_chance,
        "error_by_bad_luck": by_bad_luck,
    }
    plots = {"before": reliability(before, targets), "after": reliability(after, targets)}
    return round_metrics(metrics) | {
        name: [round_metrics(b) for b in bins] for name, bins in plots.items()
    }


def _fit_rejection(
    model: FlowerClassifier,
    train: DecodedPhotos,
    fitting: Sequence[HeldOut],
    negative_photos: DecodedPhotos | None,
) -> tuple[Rejection | None, dict[str, Any]]:
    """Return the rule and its metrics; None if there are too few photos for its threshold."""
    held_out = _split_folds(fitting)
    train_count = len(np.unique(_digests(train.sample(MAX_TRAIN_PHOTOS))))
    if _count_different(fitting) + train_count < MIN_PHOTOS:
        return None, {}
    negatives = None
    if negative_photos is not None:
        negatives = _split_folds([_predict(model, negative_photos, labelled=False)])
    train = train.sample(MAX_TRAIN_PHOTOS)
    _, train_features = predict_photos(model.runtime, train, title="training photos")
    synthetic = as_photos([*drawn_pictures(), *foliage(train)])
    _, synthetic_features = predict_photos(model.runtime, synthetic, title="synthetic negatives")

    metrics = evaluate_rejection(train_features, held_out, negatives, synthetic_features)
    rule = fit_rejection(
        train_features,
        np.concatenate(held_out),
        np.concatenate(negatives) if negatives else None,
        synthetic_features,
    )
    metrics = {"threshold": rule.threshold, **metrics}
    few = sum(map(len, held_out)) < MIN_HELD_OUT
    return rule, {
        "method": rule.name,
        **round_metrics(metrics),
        **({"threshold_from_training_photos": True} if few else {}),
    }


def _decode_negatives(
    model: FlowerClassifier, folder: Path, *, held_out_half: bool
) -> DecodedPhotos:
    short_side = resize_side(model.image_size, model.crop)
    decoded = decode_photos(not_flowers(folder), short_side, "decoding")
    if held_out_half:  # the other half was trained on: see `load_negatives`
        decoded = decoded.subset(np.flatnonzero(folds(decoded.photos, 2) == 1))
    for sentence in decoded.skipped:
        print(f"skipped: {sentence}", file=sys.stderr)
    count = len(np.unique(_digests(decoded)))
    if count < MIN_PHOTOS:
        raise DataError(
            f"'{shorten(folder, 120)}' contains {count} different readable photos. A rejection rule "
            f"requires at least {MIN_PHOTOS} non-flower photos: add some."
        )
    return decoded


def _predict_snapshots(model: FlowerClassifier, photos: DecodedPhotos) -> HeldOut:
    """Return the outputs on one copy of each photo in a random style; see `training.data.style`."""
    random.seed(0)
    # Not on negatives as backgrounds: the rejection rule is fitted to those.
    copies = [np.asarray(snapshot(photos.image(index))) for index in range(len(photos))]
    logits, features = predict_photos(model.runtime, as_photos(copies), title="snapshots")
    targets, fold = photos.targets(model.labels), folds(photos.photos, FOLDS)
    return HeldOut(logits, features, targets, fold, _digests(photos))


def _digests(photos: DecodedPhotos) -> np.ndarray:
    return np.array([digest(photo.path) for photo in photos.photos])


def _count_different(outputs: Sequence[HeldOut]) -> int:
    return len(np.unique(np.concatenate([part.digests for part in outputs])))


def _join(parts: Sequence[HeldOut]) -> HeldOut:
    names = [field.name for field in fields(HeldOut)]
    return HeldOut(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _concatenate(fitting: Sequence[HeldOut]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits (photos, classes), targets (photos,) and folds (photos,) of all sources."""
    joined = _join(fitting)
    return joined.logits, joined.targets, joined.fold


def _split_folds(fitting: Sequence[HeldOut]) -> list[np.ndarray]:
    """Return the features (photos, channels) of each fold, over all sources, without copies."""
    first = [np.sort(np.unique(part.digests, return_index=True)[1]) for part in fitting]
    pairs = list(zip(fitting, first, strict=True))
    features = np.concatenate([part.features[rows] for part, rows in pairs])
    fold = np.concatenate([part.fold[rows] for part, rows in pairs])
    return [features[fold == f] for f in range(FOLDS)]


def _scale(logits: np.ndarray, fold: np.ndarray, temperatures: Sequence[float]) -> np.ndarray:
    return logits / np.asarray(temperatures)[fold][:, None]
