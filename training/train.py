"""python -m training.train RECIPE: train a model on photos and write a weights folder."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from flower_model.cli.common import run_command
from flower_model.errors import HubError, RecipeError, shorten
from training.arguments import check_utf8, outlier_folders, recipe_from_options, train_parser
from training.engine.run_folder import check_run, open_run, record_photos
from training.recipe import Recipe

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped option is reported at once
    from accelerate import Accelerator


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code (2 for bad input, with a message on stderr)."""
    return run_command(lambda: run_training(train_parser().parse_args(arguments)))


def run_training(options: argparse.Namespace) -> int:
    """Check the options, train, and publish the model if requested."""
    recipe = recipe_from_options(options)
    if options.explain:
        print(explain(recipe, Path(options.data_root)))
        return 0
    run = Path(options.out or f"runs/{recipe.name}")
    check_utf8(str(run))
    check_run(run, recipe, resume=options.resume, overwrite=options.overwrite)
    if options.push_to_hub:
        from flower_model.hub.upload import check_login

        check_login(options.push_to_hub)  # now rather than after hours of training
    data_root, outliers = Path(options.data_root), outlier_folders(options)
    if options.resume and (run / "model").is_dir():  # written last, atomically
        print(f"The run is finished. Its model is in {run / 'model'}.")
    else:
        from training.engine.preflight import explain_out_of_memory

        with explain_out_of_memory():
            train(recipe, run, data_root, outliers, resume=options.resume, track=options.track)
    if options.push_to_hub and os.environ.get("RANK", "0") == "0":  # set by accelerate launch
        push(run / "model", options.push_to_hub)
    return 0


def explain(recipe: Recipe, data_root: Path) -> str:
    """Return a description of what `train` would do, with the estimated time of each phase."""
    from flower_model.system.memory import keep_freed_memory
    from training.engine.forecast import forecast
    from training.engine.preflight import explain_out_of_memory
    from training.engine.pretrained import find_weights

    keep_freed_memory()
    accelerator = prepare_accelerator(recipe)
    if accelerator.num_processes > 1:
        raise RecipeError("--explain runs in one process: call it without a launcher.")
    find_weights(recipe.model)
    with explain_out_of_memory():
        return forecast(recipe, data_root, accelerator)


def train(
    recipe: Recipe,
    run: Path,
    data_root: Path,
    outlier_folders: tuple[Path | None, Path | None],
    *,
    resume: bool = False,
    track: str | None = None,
) -> None:
    """Train a model on photos and write the weights folder `run`/model.

    Args:
        recipe: The recipe of the run.
        run: Folder for metrics, checkpoints and the finished model. An earlier run in it is deleted
            after the photos have been read, unless it is resumed.
        data_root: Folder that the recipe's sources are resolved against.
        outlier_folders: As for `training.data.outliers.calibration_outliers`.
        resume: Continue after the run's last epoch.
        track: One of Accelerate's trackers, which logs the metrics of each epoch.

    Raises:
        FlowerModelError: If the data, the pretrained weights or the run folder are unusable, or the
            disk is full. An interrupted run can be resumed after its last epoch.
    """
    # Imported here so that `--help` and errors in the recipe don't wait for torch.
    import torch

    from flower_model.system.memory import keep_freed_memory
    from training.data.decoded import resize_side
    from training.data.outliers import calibration_outliers
    from training.data.sampling import load_photos
    from training.data.sources import fingerprint
    from training.data.training_record import save_record
    from training.engine.clock import Clock
    from training.engine.finetune import finetune
    from training.engine.inference import compute_of
    from training.engine.linear_probe import probe_head, save_features
    from training.engine.preflight import check_network
    from training.engine.pretrained import create_network, find_weights
    from training.reporting.provenance import may_have_seen

    clock = Clock()
    keep_freed_memory()
    accelerator = prepare_accelerator(recipe, track, run)
    short_side = resize_side(recipe.model.test_size, recipe.model.crop)
    # One process per machine downloads and decodes; the others then find the results on the disk.
    with accelerator.local_main_process_first(), silence_other_processes(accelerator):
        find_weights(recipe.model)  # before the photos are read, which may take minutes
        clock.lap("start")
        photos = load_photos(recipe.data, data_root, short_side)
        # Early, since too few of them would fail the run at its end.
        outliers = calibration_outliers(outlier_folders, short_side, recipe)
    clock.lap("decoding")

    torch.manual_seed(recipe.seed)
    network = create_network(recipe.model, len(photos.labels))
    network = network.to(memory_format=torch.channels_last).to(accelerator.device)
    check_network(network, recipe)
    resume = resume and (run / "last.safetensors").exists()
    accelerator.wait_for_everyone()  # until all processes have looked for a checkpoint
    if accelerator.is_main_process:
        lock = open_run(run, recipe, resume=resume)
        sides = {"train": photos.train, "val": photos.val}
        seen = {side: fingerprint(of_side.photos) for side, of_side in sides.items()}
        record_photos(run, seen, resume=resume)
        save_record(run, photos.train.photos)
        if may_have_seen(recipe, seen["val"]):
            print(
                f"'{recipe.model.pretrained}' was trained on the same sources with other photos held "
                "out: it may have been trained on some of the photos held out now.",
                file=sys.stderr,
            )
    accelerator.wait_for_everyone()
    accelerator.init_trackers(recipe.name)
    clock.lap("start")
    compute = compute_of(accelerator)
    if recipe.probe and not resume:
        features = probe_head(network, photos, recipe, compute)
        if accelerator.is_main_process:
            save_features(run, features)
        clock.lap("probe")
    network = finetune(
        network, photos, recipe, run, accelerator=accelerator, clock=clock, resume=resume
    )
    accelerator.end_training()
    if accelerator.is_main_process:  # the rest takes seconds and writes files
        from training.finish import finish  # imports matplotlib

        finish(network, photos, recipe, run, data_root, outliers, compute=compute, clock=clock)
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

    # torch starts a thread for each core of the machine, also in a container limited to fewer.
    torch.set_num_threads(min(torch.get_num_threads(), cores_per_process()))

    # Accelerate must be told that several processes share a machine without GPUs.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=cpu)
    bf16 = recipe.finetune.precision == "bf16" or (
        recipe.finetune.precision == "auto" and supports_bf16(state.device)
    )
    if track and not importlib.util.find_spec(track):
        raise RecipeError(f"{track} is not installed: pip install {track}, or omit --track.")
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if bf16 else "no",
        # divide each batch among the processes, so that a recipe doesn't depend on their number
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        log_with=track,
        project_dir=run,
    )
    check_settings(recipe, accelerator)
    return accelerator


@contextmanager
def silence_other_processes(accelerator: "Accelerator") -> Iterator[None]:
    """Discard what all processes but the main one print."""
    if accelerator.is_main_process:
        yield
    else:
        with open(os.devnull, "w") as devnull, redirect_stdout(devnull), redirect_stderr(devnull):
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
            f"{shorten(error, 160)} The model is safe in '{folder}'. To publish it later: "
            f"python -m training.publish {folder} {repo_id}"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
