"""The end of a run: the trained network is calibrated, saved as a weights folder and reported on."""

from pathlib import Path

from torch import nn

from flower_model.classifier import FlowerClassifier
from flower_model.confidence import probabilities
from flower_model.config import ModelConfig
from flower_model.runtimes.base import Compute
from flower_model.system.files import atomic_folder
from training.calibration.fit import calibrate, format_summary
from training.calibration.quantize import try_quantize_folder
from training.calibration.references import write_references
from training.data.flowers102 import names_of
from training.data.outliers import Outliers
from training.data.sampling import Photos
from training.engine.clock import Clock
from training.engine.inference import fastest_runtime
from training.recipe import Recipe
from training.reporting.failure import report_failure
from training.reporting.figures import plot_training_curve
from training.reporting.provenance import provenance
from training.reporting.review import review


def finish(
    network: nn.Module,
    photos: Photos,
    recipe: Recipe,
    run: Path,
    data_root: Path,
    outliers: Outliers,
    *,
    compute: Compute,
    clock: Clock,
) -> None:
    """Calibrate a network, write `run`/model, and report; a failed report doesn't end the run.

    Args:
        network: The network of the epoch that is kept.
        photos: The photos of the run.
        recipe: Its recipe.
        run: Its folder, with metrics.csv.
        data_root: Folder that the recipe's sources are resolved against.
        outliers: Photos for the rules, from `calibration_outliers`.
        compute: Device and precision of the run.
        clock: Its clock.
    """
    config = ModelConfig(
        architecture=recipe.model.architecture,
        labels=tuple(photos.labels),
        **names_of(photos.labels),
        details=provenance(recipe, photos, clock.phases),
    )
    runtime = fastest_runtime(network, compute, photos=len(photos.train) + len(photos.val))
    model = FlowerClassifier(network, config, runtime=runtime)
    outputs = calibrate(model, recipe, photos.train, photos.val, data_root, outliers)
    with report_failure("The training curve"):
        model.pictures["training-curve.png"] = plot_training_curve(run / "metrics.csv")
    with atomic_folder(run / "model") as folder:
        model.save_pretrained(folder)
        try_quantize_folder(folder, photos.train)
        with report_failure("The reference features"):
            write_references(model, photos.train, folder)
    with report_failure("The summary"):
        print(format_summary(model), flush=True)
    with report_failure("The review"):
        review(run, photos, probabilities(outputs[0].logits, model.config.temperature), recipe)
    with report_failure("The summary"):
        clock.lap("calibration and report")
        print(f"Model saved in {run / 'model'}. Time: {clock}.", flush=True)
