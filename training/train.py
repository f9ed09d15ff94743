"""python -m training.train RECIPE: photos in, a weights folder out."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.cli.common import run_command
from flower_model.errors import HubError, RecipeError
from training.arguments import chosen_recipe, not_flowers_folder, parser
from training.engine.run_folder import check_run, open_run, record_photos
from training.recipe import Recipe

if TYPE_CHECKING:  # a mistyped option is told before torch's seconds of import
    from accelerate import Accelerator


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (2: bad input, said in one sentence)."""
    options = parser().parse_args(arguments)
    return run_command(lambda: run_training(options))


def run_training(options: argparse.Namespace) -> int:
    """Checks what was asked for, then trains."""
    recipe = chosen_recipe(options)
    if options.explain:
        print(explain(recipe, Path(options.data_root)))
        return 0
    run = Path(options.out or f"runs/{recipe.name}")
    check_run(run, recipe, resume=options.resume, overwrite=options.overwrite)
    if options.push_to_hub:
        from flower_model.hub.upload import check_login

        check_login(options.push_to_hub)  # now, not after hours of training
    data_root = Path(options.data_root)
    not_flowers = not_flowers_folder(options, data_root)
    if options.resume and (run / "model").is_dir():  # written last, and in one step
        print(f"The run is finished: its model is in {run / 'model'}.")
    else:
        from training.engine.preflight import explain_out_of_memory

        with explain_out_of_memory():
            train(recipe, run, data_root, not_flowers, resume=options.resume, track=options.track)
    if options.push_to_hub and os.environ.get("RANK", "0") == "0":  # as accelerate launch sets it
        push(run / "model", options.push_to_hub)
    return 0


def explain(recipe: Recipe, data_root: Path) -> str:
    """What `train` would do with the same arguments, and how long each phase would take."""
    from flower_model.system.memory import keep_freed_memory
    from training.engine.forecast import forecast
    from training.engine.preflight import explain_out_of_memory

    keep_freed_memory()
    accelerator = prepare_accelerator(recipe)
    if accelerator.num_processes > 1:
        raise RecipeError("--explain tries a run on one process: ask for it without a launcher.")
    with explain_out_of_memory():
        return forecast(recipe, data_root, accelerator)


def train(
    recipe: Recipe,
    run: Path,
    data_root: Path,
    not_flowers: Path | None,
    *,
    resume: bool = False,
    track: str | None = None,
) -> None:
    """A whole run, from the photos to the weights folder `run`/model.

    Args:
        recipe: What to do.
        run: Folder for metrics, checkpoints and the finished model; an earlier run in it goes,
            once the photos have been read, unless it is resumed.
        data_root: Folder that the recipe's sources lie in.
        not_flowers: Folder of photos that show no flower; None if there is none.
        resume: Go on from the run's last epoch.
        track: What shows the figures of each epoch while it runs: one of Accelerate's trackers.

    Raises:
        FlowerModelError: If the data, the pretrained weights or the run folder are no good, or the
            disk is full; then the run goes on from its last epoch when it is resumed.
    """
    # Imported here so that `--help` and a mistyped recipe answer at once.
    import torch

    from flower_model.classifier import FlowerClassifier
    from flower_model.confidence import probabilities
    from flower_model.config import ModelConfig
    from flower_model.system.files import atomic_folder
    from flower_model.system.memory import keep_freed_memory
    from training.calibration.fit import calibrate, format_summary
    from training.data.decoded import resize_side
    from training.data.flowers102 import names_of
    from training.data.sampling import load_photos
    from training.data.sources import fingerprint
    from training.engine.clock import Clock
    from training.engine.finetune import finetune
    from training.engine.inference import compute_of, fastest_runtime
    from training.engine.linear_probe import probe_head, save_features
    from training.engine.preflight import check_network
    from training.engine.pretrained import create_network
    from training.reporting.provenance import may_have_seen, provenance

    clock = Clock()
    keep_freed_memory()
    accelerator = prepare_accelerator(recipe, track, run)
    short_side = resize_side(recipe.model.test_size, recipe.model.crop)
    # On each machine one process decodes, and says so; the others then find its pictures on disk.
    with accelerator.local_main_process_first(), only_main_speaks(accelerator):
        clock.lap("start")
        photos = load_photos(recipe.data, data_root, short_side)
    clock.lap("decoding")

    torch.manual_seed(recipe.seed)
    network = create_network(recipe.model, len(photos.labels))
    network = network.to(memory_format=torch.channels_last).to(accelerator.device)
    check_network(network, recipe)
    resume = resume and (run / "last.safetensors").exists()
    accelerator.wait_for_everyone()  # all have looked whether there is something to resume
    if accelerator.is_main_process:
        lock = open_run(run, recipe, resume=resume)
        sides = {"train": photos.train, "val": photos.val}
        seen = {side: fingerprint(of_side.photos) for side, of_side in sides.items()}
        record_photos(run, seen, resume=resume)
        if may_have_seen(recipe, seen["val"]):
            print(
                f"'{recipe.model.pretrained}' was trained on the same sources with other photos "
                "held out: it may know some of those that measure it now.",
                file=sys.stderr,
            )
    accelerator.wait_for_everyone()
    accelerator.init_trackers(recipe.name)  # that `track` names, if any
    clock.lap("start")
    if recipe.probe and not resume:
        features = probe_head(network, photos, recipe, compute_of(accelerator))
        if accelerator.is_main_process:
            save_features(run, features)
        clock.lap("probe")
    network = finetune(
        network,
        photos,
        recipe,
        run,
        accelerator=accelerator,
        clock=clock,
        resume=resume,
    )
    accelerator.end_training()
    if not accelerator.is_main_process:
        return  # what is left takes seconds and writes files

    from training.reporting.figures import (
        plot_training_curve,  # a second's import that nothing waited for
    )
    from training.reporting.review import review

    config = ModelConfig(
        architecture=recipe.model.architecture,
        labels=tuple(photos.labels),
        **names_of(photos.labels),
        details=provenance(recipe, photos, clock.phases),
    )
    runtime = fastest_runtime(network, compute_of(accelerator))
    model = FlowerClassifier(network, config, runtime=runtime)
    answers = calibrate(model, recipe, photos.train, photos.val, data_root, not_flowers)
    print(format_summary(model), flush=True)
    model.pictures["training-curve.png"] = plot_training_curve(run / "metrics.csv")
    with atomic_folder(run / "model") as folder:
        model.save_pretrained(folder)
    review(run, photos, probabilities(answers[0].logits, model.config.temperature), recipe)
    clock.lap("calibration and report")
    print(f"Model saved in {run / 'model'}. Where the time went: {clock}.")
    lock.release()


def prepare_accelerator(
    recipe: Recipe, track: str | None = None, run: Path | None = None
) -> "Accelerator":
    """Return Accelerate's object for the device, the precision and the processes of a run."""
    import torch
    from accelerate import Accelerator, DataLoaderConfiguration, PartialState
    from accelerate.utils import parse_flag_from_env

    from flower_model.runtimes.pytorch import supports_bf16
    from flower_model.system.cores import cores_per_process
    from training.engine.preflight import check_settings

    # A container that is given few of many cores would have a thread for each of the many.
    torch.set_num_threads(min(torch.get_num_threads(), cores_per_process()))

    # Several processes on processors alone find one another only if Accelerate is told.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=cpu)
    bf16 = recipe.finetune.precision == "bf16" or (
        recipe.finetune.precision == "auto" and supports_bf16(state.device)
    )
    if track and not importlib.util.find_spec(track):
        raise RecipeError(f"{track} is not here: pip install {track}, or leave out --track.")
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if bf16 else "no",
        # a batch is divided among the processes: the recipe means the same with any number of them
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        log_with=track,
        project_dir=run,
    )
    check_settings(recipe, accelerator)
    return accelerator


@contextmanager
def only_main_speaks(accelerator: "Accelerator") -> Iterator[None]:
    """What a process prints is lost inside, unless it is the main one."""
    with ExitStack() as stack:
        if not accelerator.is_main_process:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


def push(folder: Path, repo_id: str) -> None:
    """Publish the model of a finished run.

    Raises:
        HubError: If the push fails, with the command to retry it.
    """
    from flower_model.serialization.model_repo import publish_folder

    try:
        print(f"Published: {publish_folder(folder, repo_id).commit_url}")
    except HubError as error:
        raise HubError(
            f"{error} The model is safe in '{folder}'; to push it later: "
            f"python -m training.publish {folder} {repo_id}"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
