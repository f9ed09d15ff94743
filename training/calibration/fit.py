"""Fit temperature and rejection rule on held-out photos, and evaluate both by cross-validation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flower_model import FlowerClassifier
from flower_model.cli.common import print_error
from flower_model.confidence import calibration_error, fit_temperature, probabilities
from flower_model.rejection import Rejection
from training.calibration.held_out import (
    HeldOut,
    align_folds,
    digests_of,
    join,
    predict_held_out,
    predict_snapshots,
    split_features,
)
from training.calibration.known_species_fit import fit_rule
from training.calibration.rejection_fit import (
    FOLDS,
    MIN_HELD_OUT,
    evaluate_rejection,
    fit_rejection,
)
from training.calibration.synthetic import as_photos, drawn_pictures, foliage
from training.data.decoded import DecodedPhotos
from training.data.outliers import Outliers
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
from training.reporting.provenance import (
    distinct_source_names,
    public_source_name,
    round_metrics,
)

MIN_PHOTOS = 20  # different photos for a temperature, or flowers for a rule
MAX_TRAIN_PHOTOS = 2000  # for the rejection rule; twice as many don't improve it
METRICS = ("metrics", "tests", "per_class", "calibration", "rejection", "known_species")


def calibrate(
    model: FlowerClassifier,
    recipe: Recipe,
    train: DecodedPhotos,
    held_out: DecodedPhotos,
    data_root: Path,
    outliers: Outliers,
) -> list[HeldOut]:
    """Fit the temperature and the rules of a model on held-out photos.

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
        outliers: From `training.data.outliers.calibration_outliers`; each kind fits a rule.

    Returns:
        The outputs on the held-out photos, then on each other source of the recipe.

    Raises:
        DataError: If a source is missing.
    """
    photos = [held_out, *(decode_source(model, s, data_root) for s in recipe.data.calibrate)]
    fitting = align_folds([predict_held_out(model, decoded) for decoded in photos])
    evaluated = dict(zip(recipe.data.calibrate, fitting[1:], strict=True))
    if recipe.finetune.has_style:
        snapshots = align_folds([predict_snapshots(model, decoded) for decoded in photos])
        fitting += snapshots
        evaluated["snapshots"] = join(snapshots)
    test_only = [s for s in recipe.data.test if s not in evaluated]
    evaluated |= {s: predict_held_out(model, decode_source(model, s, data_root)) for s in test_only}

    fitted_on = join(fitting)
    fitted = len(np.unique(fitted_on.digests)) >= MIN_PHOTOS
    temperature, by_fold = _fit_temperatures(fitted_on) if fitted else (1.0, np.ones(FOLDS))
    everywhere = np.full(FOLDS, temperature)
    # Without those of an earlier calibration, so that they come in the same order and none stays.
    details = {key: value for key, value in model.config.details.items() if key not in METRICS}
    details["metrics"] = _evaluate(fitting[0], by_fold)
    names = distinct_source_names(list(evaluated))
    details["tests"] = {
        name: {"photos": len(outputs.targets)}
        | _evaluate(outputs, everywhere if source in test_only else by_fold)
        for name, (source, outputs) in zip(names, evaluated.items(), strict=True)
    }
    all_outputs = [fitting[0], *evaluated.values()]
    predicted = np.concatenate([outputs.logits.argmax(1) for outputs in all_outputs])
    targets = np.concatenate([outputs.targets for outputs in all_outputs])
    details["per_class"] = per_class(predicted, targets, model.labels)
    with report_failure("The confusion matrix"):
        picture = plot_confusion_matrix(targets, predicted, model.labels)
        model.pictures["confusion-matrix.png"] = picture
    sources = [*details["held_out"]["sources"], *map(public_source_name, recipe.data.calibrate)]
    calibration = _evaluate_calibration(fitted_on, by_fold)
    details["calibration"] = {"sources": sources, "fitted": fitted, **calibration}
    with report_failure("The reliability diagram"):
        model.pictures["reliability.png"] = plot_reliability(
            calibration["before"], calibration["after"] if fitted else None
        )

    # Not from snapshots: with them, the rule accepts 50 % more negatives.
    with_photos = fitting[: len(photos)]
    model.rejection, metrics = _fit_rejection(model, train, with_photos, outliers.negatives)
    if model.rejection:
        details["rejection"] = metrics
    if model.rejection and outliers.other_flowers and not fitted:
        print_error(f"No known-species rule: fewer than {MIN_PHOTOS} different held-out photos.")
    elif model.rejection and outliers.other_flowers:
        rule, details["known_species"] = fit_rule(
            model, fitted_on, outliers.other_flowers, temperature
        )
        model.rejection = replace(model.rejection, known=rule)
    uses = ["the temperature"] * fitted + ["the rejection rule"] * bool(model.rejection)
    uses += ["the known-species rule"] * ("known_species" in details)
    uses += ["the choice of the epoch"] * (recipe.finetune.keep == "best")
    used_for = " and ".join(uses) or "evaluation only"
    details["held_out"] = {**details["held_out"], "used_for": used_for}
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
    if species := details.get("known_species"):
        lines.append(
            f"known-species rule: {100 * species['known_kept']:.1f} % of {species['known']} flowers kept, "
            f"{100 * species['unknown_accepted']:.1f} % of {species['unknown']} flowers of other species "
            f"accepted, AUROC {species['auroc']:.4f}"
        )
    return "\n".join(lines)


def _format_negatives(rule: dict[str, Any]) -> str:
    if "others" not in rule:
        return "fitted and evaluated without non-flower photos (add some with --not-flowers)"
    return (
        f"{100 * rule['others_let_through']:.1f} % of {rule['others']} non-flower photos accepted, "
        f"AUROC {rule['auroc']:.4f}"
    )


def _fit_temperatures(outputs: HeldOut) -> tuple[float, np.ndarray]:
    """Return the temperature, and for each fold the one that was fitted on the other folds."""
    others = [outputs.fold != fold for fold in range(FOLDS)]
    by_fold = [fit_temperature(outputs.logits[rows], outputs.targets[rows]) for rows in others]
    return fit_temperature(outputs.logits, outputs.targets), np.array(by_fold)


def _evaluate(outputs: HeldOut, temperatures: np.ndarray) -> dict[str, float]:
    return round_metrics(compute_metrics(outputs.scaled(temperatures), outputs.targets))


def _evaluate_calibration(outputs: HeldOut, temperatures: np.ndarray) -> dict[str, Any]:
    targets = outputs.targets
    before = probabilities(outputs.logits)
    after = probabilities(outputs.scaled(temperatures))
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
    held_out, train = split_features(fitting), train.sample(MAX_TRAIN_PHOTOS)
    flowers = np.concatenate([join(fitting).digests, digests_of(train)])
    if len(np.unique(flowers)) < MIN_PHOTOS:
        return None, {}
    negatives = None
    if negative_photos is not None:
        negatives = split_features([predict_held_out(model, negative_photos, labelled=False)])
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
