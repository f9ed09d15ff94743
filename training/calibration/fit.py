"""Temperature and rejection rule from photos that trained nothing, and how good both are."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flower_model import FlowerClassifier
from flower_model.confidence import calibration_error, fit_temperature, probabilities
from flower_model.errors import DataError
from flower_model.rejection import Rejection
from training.calibration.rejection_fit import FOLDS, fit_rejection, measure_rejection
from training.data.decoded import DecodedPhotos, decode_photos, resize_side
from training.data.negatives import as_photos, drawn_pictures, foliage, not_flowers
from training.data.sources import folds
from training.engine.inference import predict_photos
from training.recipe import Recipe
from training.reporting.evaluation import decode_source
from training.reporting.figures import confusion_picture, reliability_picture
from training.reporting.metrics import calibration_error_by_chance, measure, per_class, reliability
from training.reporting.provenance import published_name, rounded

FEWEST = 20  # photos of either kind; with fewer there is no telling what 98 of 100 would be
MOST_TRAINED = 2000  # training photos that fit the rule; twice as many make it no better


@dataclass(frozen=True)
class Answers:
    """A model's answers to photos that it was not trained on.

    Attributes:
        logits: (photos, classes) float32.
        features: (photos, channels) float32.
        targets: (photos,) int64 class indices; empty for photos that show no flower.
        fold: (photos,) 0 to FOLDS - 1: each is measured with what was fitted to the others.
    """

    logits: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    fold: np.ndarray


def calibrate(
    model: FlowerClassifier,
    recipe: Recipe,
    train: DecodedPhotos,
    held_out: DecodedPhotos,
    data_root: Path,
    others_folder: Path | None,
) -> list[Answers]:
    """Fits temperature and rejection rule to photos that trained nothing, and puts them in the model.

    The details of its config then say how good they are. Every figure is of photos that its fit
    did not see: each fold of them is measured with what was fitted to the other folds. What the
    model keeps was fitted to all.

    Args:
        model: The model, its config's details telling of its run.
        recipe: What it was trained by.
        train, held_out: The recipe's photos.
        data_root: Folder that the recipe's other sources lie in.
        others_folder: Folder of photos that show no flower; None if there is none.

    Returns:
        The answers to the held-out photos, then to each other source.

    Raises:
        DataError: If a source or `others_folder` is missing or too small.
    """
    fitting = [_answer(model, held_out)]
    fitting += [_answer(model, decode_source(model, s, data_root)) for s in recipe.data.calibrate]
    measured = dict(zip(recipe.data.calibrate, fitting[1:], strict=True))
    only_measured = [s for s in recipe.data.test if s not in measured]
    measured |= {s: _answer(model, decode_source(model, s, data_root)) for s in only_measured}

    fitted = sum(len(answers.targets) for answers in fitting) >= FEWEST
    temperature, of_fold = _fit_temperatures(fitting) if fitted else (1.0, [1.0] * FOLDS)
    details = dict(model.config.details)
    details["metrics"] = _measure(fitting[0], of_fold)
    details["tests"] = {
        published_name(source): {"photos": len(answers.targets)}
        | _measure(answers, [temperature] * FOLDS if source in only_measured else of_fold)
        for source, answers in measured.items()
    }
    everything = [fitting[0], *measured.values()]
    named = np.concatenate([answers.logits.argmax(1) for answers in everything])
    targets = np.concatenate([answers.targets for answers in everything])
    details["per_class"] = per_class(named, targets, model.labels)
    model.pictures["confusion-matrix.png"] = confusion_picture(targets, named, model.labels)
    sources = [*details["held_out"]["sources"], *map(published_name, recipe.data.calibrate)]
    found = _measure_calibration(fitting, of_fold)
    details["calibration"] = {"sources": sources, "fitted": fitted, **found}
    model.pictures["reliability.png"] = reliability_picture(found["before"], found["after"])

    model.rejection, figures = _fit_rejection(
        model, train, fitting, others_folder, trained_on_half=bool(recipe.data.negatives)
    )
    details.pop("rejection", None)
    if model.rejection:
        details["rejection"] = figures
    uses = ["the temperature"] * fitted + ["the rule for what is no flower"] * bool(model.rejection)
    uses += ["the choice of the epoch"] * (recipe.finetune.keep == "best")
    details["held_out"] = {**details["held_out"], "used_for": " and ".join(uses) or "figures only"}
    model.config = replace(model.config, temperature=temperature, details=details)
    return everything


def summary(model: FlowerClassifier) -> str:
    """What `calibrate` found, for people to read."""
    details = model.config.details
    lines = [
        f"{name}: top-1 {100 * m['top1']:.2f} %, mean per class {100 * m['mean_per_class']:.2f} %, "
        f"log loss {m['log_loss']:.3f}, calibration error {100 * m['calibration_error']:.2f} %"
        for name, m in {"held out": details["metrics"], **details["tests"]}.items()
    ]
    c = details["calibration"]
    by_chance = f"chance alone would show {100 * c['error_by_chance']:.2f} %"
    lines.append(
        f"temperature {model.config.temperature:.3f}: calibration error of {c['photos']} photos "
        f"{100 * c['error_before']:.2f} % before, {100 * c['error']:.2f} % after, of which {by_chance}"
        if c["fitted"]
        else f"no temperature: there are fewer than {FEWEST} held-out photos; their calibration "
        f"error is {100 * c['error']:.2f} %, of which {by_chance}"
    )
    rule = details.get("rejection")
    if rule is None:
        lines.append(
            f"no rule for what is no flower: there are fewer than {FEWEST} held-out photos"
        )
    else:
        kept = f"{100 * rule['flowers_kept']:.1f} % of {rule['flowers']} flowers kept"
        lines.append(f"flower or not, by {rule['method']}: {kept}, {_told_of_others(rule)}")
    return "\n".join(lines)


def _told_of_others(rule: dict[str, Any]) -> str:
    if "others" not in rule:
        return "without photos of anything else to fit it or to measure it by (--not-flowers)"
    return (
        f"{100 * rule['others_let_through']:.1f} % of {rule['others']} other photos let through, "
        f"AUROC {rule['auroc']:.4f}"
    )


def _answer(model: FlowerClassifier, photos: DecodedPhotos, *, labelled: bool = True) -> Answers:
    logits, features = predict_photos(model.runtime, photos, title="calibrating")
    targets = photos.targets(model.labels) if labelled else np.empty(0, np.int64)
    return Answers(logits, features, targets, folds(photos.photos, FOLDS))


def _fit_temperatures(fitting: Sequence[Answers]) -> tuple[float, list[float]]:
    """The temperature, and for each fold the one that the other folds give."""
    logits, targets, fold = _together(fitting)
    of_fold = [fit_temperature(logits[fold != f], targets[fold != f]) for f in range(FOLDS)]
    return fit_temperature(logits, targets), of_fold


def _measure(answers: Answers, of_fold: Sequence[float]) -> dict[str, float]:
    return rounded(measure(_scaled(answers.logits, answers.fold, of_fold), answers.targets))


def _measure_calibration(fitting: Sequence[Answers], of_fold: Sequence[float]) -> dict[str, Any]:
    logits, targets, fold = _together(fitting)
    before, after = probabilities(logits), probabilities(_scaled(logits, fold, of_fold))
    by_chance, by_bad_luck = calibration_error_by_chance(after)
    figures = {
        "photos": len(targets),
        "error_before": calibration_error(before, targets),
        "error": calibration_error(after, targets),
        "error_by_chance": by_chance,
        "error_by_bad_luck": by_bad_luck,
    }
    plots = {"before": reliability(before, targets), "after": reliability(after, targets)}
    return rounded(figures) | {name: [rounded(b) for b in bins] for name, bins in plots.items()}


def _fit_rejection(
    model: FlowerClassifier,
    train: DecodedPhotos,
    fitting: Sequence[Answers],
    others_folder: Path | None,
    *,
    trained_on_half: bool,
) -> tuple[Rejection | None, dict[str, Any]]:
    """The rule and its figures; no rule if there are too few photos to set its threshold by."""
    held_out = _in_folds(fitting)
    if sum(map(len, held_out)) < FEWEST:
        return None, {}
    others = (
        _in_folds([_answer_others(model, others_folder, trained_on_half=trained_on_half)])
        if others_folder
        else None
    )
    train = train.sample(MOST_TRAINED)
    _, trained = predict_photos(model.runtime, train, title="looking at flowers")
    made = as_photos([*drawn_pictures(), *foliage(train)])
    _, made_features = predict_photos(model.runtime, made, title="looking at others")

    figures = measure_rejection(trained, held_out, others, made_features)
    rule = fit_rejection(
        trained,
        np.concatenate(held_out),
        np.concatenate(others) if others else None,
        made_features,
    )
    return rule, {"method": rule.name, **rounded({"threshold": rule.threshold, **figures})}


def _answer_others(model: FlowerClassifier, folder: Path, *, trained_on_half: bool) -> Answers:
    short_side = resize_side(model.image_size, model.crop)
    decoded = decode_photos(not_flowers(folder), short_side, "decoding")
    if trained_on_half:  # the same half as `load_negatives` keeps
        decoded = decoded.subset(np.flatnonzero(folds(decoded.photos, 2) == 1))
    for sentence in decoded.skipped:
        print(f"skipped: {sentence}", file=sys.stderr)
    if len(decoded) < FEWEST:
        raise DataError(
            f"'{folder}' holds {len(decoded)} photos that open, and a rule for what is no flower "
            f"needs {FEWEST}: add some."
        )
    return _answer(model, decoded, labelled=False)


def _together(fitting: Sequence[Answers]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (photos, classes), targets (photos,) and folds (photos,) of all sources."""
    return (
        np.concatenate([answers.logits for answers in fitting]),
        np.concatenate([answers.targets for answers in fitting]),
        np.concatenate([answers.fold for answers in fitting]),
    )


def _in_folds(fitting: Sequence[Answers]) -> list[np.ndarray]:
    """Features (photos, channels) of each fold of all sources."""
    features = np.concatenate([answers.features for answers in fitting])
    fold = np.concatenate([answers.fold for answers in fitting])
    return [features[fold == f] for f in range(FOLDS)]


def _scaled(logits: np.ndarray, fold: np.ndarray, of_fold: Sequence[float]) -> np.ndarray:
    return logits / np.asarray(of_fold)[fold][:, None]
