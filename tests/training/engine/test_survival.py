"""Crash safety: a run survives SIGKILL, a full disk and power loss, and ends with the same weights."""

import contextlib
import csv
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from flower_model import FlowerClassifier
from tests.support.drawn import draw_dataset, draw_photo
from tests.support.forked import FORKS, prepare_fork
from tests.support.power import Disk, record_disk
from tests.training.test_training import small_run
from training import train
from training.engine.run_folder import open_run
from training.recipe import load_recipe

BRIEF = [
    "finetune.epochs=3",
    "finetune.image_sizes=[32]",
    "finetune.lr=1e-3",
    "finetune.keep='last'",
]
BRIEF = [word for setting in BRIEF for word in ("--set", setting)]
MOST_KILLS = 2  # of a run
KILLS, POWER_LOSSES = (int(n) for n in os.environ.get("FLOWER_KILLS", "5 2").split())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("data") / "discs", photos_per_class=10)


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory) -> tuple[Path, list[Disk]]:
    """An uninterrupted run, and the disk state that power loss at each of its writes would leave."""
    out = tmp_path_factory.mktemp("runs") / "uninterrupted"
    images = out.with_name("images")
    process = FORKS.Process(target=train_recorded, args=(dataset, out, images))
    process.start()
    process.join()
    assert process.exitcode == 0
    return out, [Disk(path) for path in sorted(images.iterdir())]


def test_a_run_killed_at_random_moments_ends_with_the_same_weights(
    uninterrupted, dataset, tmp_path
):
    out, _ = uninterrupted
    rng = random.Random(0)
    kills = 0
    start = time.monotonic()
    assert trained(small_run(dataset, tmp_path / "timed", *BRIEF))[0] == 0
    seconds = time.monotonic() - start
    for run in (tmp_path / str(number) for number in range(1000)):
        kills += train_through_kills(run, dataset, rng, seconds)
        assert_same_run(run, out)
        if kills >= KILLS:
            break
    assert kills >= KILLS


def test_files_are_complete_after_power_loss_at_any_write(uninterrupted):
    _, disks = uninterrupted
    assert len(disks) > 30
    for disk in disks:
        assert_complete(disk.folder / "uninterrupted")


def test_a_run_resumed_after_power_loss_ends_with_the_same_weights(
    uninterrupted, dataset, tmp_path
):
    out, disks = uninterrupted
    started = [disk for disk in disks if (disk.folder / "uninterrupted" / "recipe.json").exists()]
    for number, disk in enumerate(
        random.Random(0).sample(started, min(POWER_LOSSES, len(started)))
    ):
        run = tmp_path / str(number)
        shutil.copytree(disk.folder / "uninterrupted", run)
        assert trained(small_run(dataset, run, *BRIEF, "--resume"))[0] == 0
        assert_same_run(run, out)


def test_a_failed_write_is_reported_and_the_run_can_be_resumed(uninterrupted, dataset, tmp_path):
    out, _ = uninterrupted
    run = tmp_path / "run"
    last = run / "last.safetensors"
    room = (out / "best.safetensors").stat().st_size + 1  # a checkpoint is larger
    code, printed = trained(small_run(dataset, run, *BRIEF), file_size=room)
    assert code == 2 and f"'{last}' can't be written" in printed
    assert_complete(run)
    assert trained(small_run(dataset, run, *BRIEF, "--resume"))[0] == 0
    assert_same_run(run, out)


def test_a_full_disk_keeps_the_last_checkpoint(uninterrupted, dataset, tmp_path):
    out, _ = uninterrupted
    size = (out / "last.safetensors").stat().st_size + (out / "best.safetensors").stat().st_size
    with small_disk(tmp_path / "disk", size + 100_000) as disk:  # no room for a second checkpoint
        run = disk / "run"
        code, printed = trained(small_run(dataset, run, *BRIEF))
        assert code == 2 and "No space left on device" in printed
        assert_complete(run)
        assert (run / "last.safetensors").exists()
        shutil.copytree(run, tmp_path / "larger")
    run = tmp_path / "larger"
    assert trained(small_run(dataset, run, *BRIEF, "--resume"))[0] == 0
    assert_same_run(run, out)


def test_resuming_a_finished_run_changes_nothing(uninterrupted, dataset, capsys):
    out, _ = uninterrupted
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert train.main(small_run(dataset, out, *BRIEF, "--resume")) == 0
    assert "finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_resuming_with_changed_photos_is_rejected(tmp_path, capsys):
    data = draw_dataset(tmp_path / "discs", photos_per_class=10)
    command = small_run(data, tmp_path / "run", *BRIEF, "--epochs", "1")
    assert train.main(command) == 0
    shutil.rmtree(tmp_path / "run" / "model")  # as if it had been interrupted
    draw_photo("gold", 99_000).save(data / "yellow disc" / "new.png")
    assert train.main([*command, "--resume"]) == 2
    assert "photos have changed since the run" in capsys.readouterr().err


def test_a_run_interrupted_before_its_recipe_was_written_can_be_started_again(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".recipe.json.k1ll3d.tmp").write_text("{")
    recipe = load_recipe("flowers5")
    train.check_run(run, recipe, resume=False, overwrite=False)
    open_run(run, recipe, resume=False).release()
    assert {path.name for path in run.iterdir()} - {".lock"} == {"recipe.json"}


def test_two_runs_cannot_share_a_folder(tmp_path, dataset, capsys):
    lock = open_run(tmp_path / "run", load_recipe("flowers5"), resume=False)
    assert train.main(small_run(dataset, tmp_path / "run", *BRIEF, "--overwrite")) == 2
    assert "Another training run is writing" in capsys.readouterr().err
    lock.release()


def train_through_kills(run: Path, dataset: Path, rng: random.Random, seconds: float) -> int:
    """Start a run of so many seconds, kill and resume it a few times; return the number of kills."""
    for kills in range(MOST_KILLS + 1):
        resume = ["--resume"] * (run / "recipe.json").exists()
        process = FORKS.Process(
            target=train_quietly, args=(small_run(dataset, run, *BRIEF, *resume),)
        )
        process.start()
        process.join(rng.uniform(0.05, seconds) if kills < MOST_KILLS else None)
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        process.kill()
        process.join()
        assert_complete(run)
    raise AssertionError("the run never finished")


def trained(arguments: list[str], *, file_size: int | None = None) -> tuple[int, str]:
    """Train in a separate process; return its exit code and the last line on stderr."""
    with tempfile.NamedTemporaryFile() as errors:
        process = FORKS.Process(target=train_quietly, args=(arguments, errors.name, file_size))
        process.start()
        process.join()
        assert process.exitcode is not None
        printed = Path(errors.name).read_text()
        assert "Traceback" not in printed
        return process.exitcode, printed.rpartition("\r")[2].strip()


def train_quietly(
    arguments: list[str], errors: str = os.devnull, file_size: int | None = None
) -> None:
    prepare_fork()
    with (
        open(errors, "w") as stderr,
        contextlib.redirect_stdout(None),
        contextlib.redirect_stderr(stderr),
    ):
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        raise SystemExit(train.main(arguments))


def train_recorded(dataset: Path, out: Path, images: Path) -> None:
    with record_disk(out, images):
        train_quietly(small_run(dataset, out, *BRIEF))


def assert_complete(run: Path) -> None:
    """Every file that exists can be loaded, and the files agree with each other."""
    if not run.exists():
        return
    if (run / "recipe.json").exists():
        json.loads((run / "recipe.json").read_text())
    epoch, best = 0, -1  # before the first checkpoint, metrics.csv has the row of the probe at most
    if (run / "last.safetensors").exists():
        with safe_open(run / "last.safetensors", "pt") as file:
            progress = json.loads(file.metadata()["progress"])
        assert load_file(run / "last.safetensors")
        epoch, best = progress["epoch"], progress["best_epoch"]
        assert len(progress["metrics"]) == epoch + 1
    if (run / "metrics.csv").exists():
        rows = [int(row["epoch"]) for row in csv.DictReader((run / "metrics.csv").open())]
        assert rows == list(range(len(rows)))
        assert len(rows) in (epoch, epoch + 1)
    if (run / "best.safetensors").exists():
        with safe_open(run / "best.safetensors", "pt") as file:
            written = int(file.metadata()["epoch"])
        assert load_file(run / "best.safetensors")
        assert written == best or best in (epoch, -1)
    if (run / "model").exists():
        FlowerClassifier.from_pretrained(run / "model", runtime="torch")


def assert_same_run(run: Path, uninterrupted: Path) -> None:
    """Bit-identical weights, and the same metrics except for the seconds."""
    for name in ("model/model.safetensors", "best.safetensors"):
        assert (run / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    here, there = (load_file(folder / "last.safetensors") for folder in (run, uninterrupted))
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in there)
    assert metrics(run) == metrics(uninterrupted)
    assert not list(run.glob(".*.tmp"))


def metrics(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]


@contextlib.contextmanager
def small_disk(folder: Path, size: int):
    """Mount a file system of `size` bytes; skip the test without the permission to mount."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}"]
    if subprocess.run(
        ["mount", *options, "none", folder], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting a file system is not permitted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
