"""Training that is killed, runs out of disk or loses its power: nothing is lost but time."""

import contextlib
import csv
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
from multiprocessing import get_context, set_start_method
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from flower_model import FlowerClassifier
from tests.support.drawn import draw_dataset, draw_photo
from tests.support.power import Disk, record_disk
from tests.training.test_training import small_run
from training import train
from training.engine.run_folder import open_run
from training.recipe import load_recipe

# Imports torch once and forks from there: a training then starts in a moment.
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["training.train", "training.engine.finetune", "flower_model.classifier"]
)
BRIEF = [
    "finetune.epochs=3",
    "finetune.image_sizes=[32]",
    "finetune.lr=1e-3",
    "finetune.keep='last'",
]
BRIEF = [word for setting in BRIEF for word in ("--set", setting)]
KILLS, POWER_CUTS = (int(n) for n in os.environ.get("FLOWER_KILLS", "8 2").split())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("data") / "discs", photos_per_class=10)


@pytest.fixture(scope="module")
def unbroken(dataset, tmp_path_factory) -> tuple[Path, list[Disk]]:
    """A run that nothing happened to, and what a power cut at each of its moments would have left."""
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    images = out.with_name("images")
    process = PROCESSES.Process(target=train_recorded, args=(dataset, out, images))
    process.start()
    process.join()
    assert process.exitcode == 0
    return out, [Disk(path) for path in sorted(images.iterdir())]


def test_killed_at_random_moments_it_ends_with_the_same_weights(unbroken, dataset, tmp_path):
    out, _ = unbroken
    rng = random.Random(0)
    kills = 0
    for run in (tmp_path / str(number) for number in range(1000)):
        kills += train_through_kills(run, dataset, rng)
        assert_same_run(run, out)
        if kills >= KILLS:
            break
    assert kills >= KILLS


def test_after_a_power_cut_at_any_moment_what_is_on_the_disk_is_whole(unbroken):
    _, disks = unbroken
    assert len(disks) > 30
    for disk in disks:
        assert_whole(disk.folder / "unbroken")


def test_after_a_power_cut_a_run_ends_with_the_same_weights(unbroken, dataset, tmp_path):
    out, disks = unbroken
    begun = [disk for disk in disks if (disk.folder / "unbroken" / "recipe.json").exists()]
    for number, disk in enumerate(random.Random(0).sample(begun, min(POWER_CUTS, len(begun)))):
        run = tmp_path / str(number)
        shutil.copytree(disk.folder / "unbroken", run)
        assert trained(small_run(dataset, run, *BRIEF, "--resume"))[0] == 0
        assert_same_run(run, out)


def test_a_disk_that_becomes_full_is_told_and_the_run_goes_on_later(unbroken, dataset, tmp_path):
    out, _ = unbroken
    run = tmp_path / "run"
    last = run / "last.safetensors"
    room = (out / "best.safetensors").stat().st_size + 1  # and a checkpoint is larger
    code, said = trained(small_run(dataset, run, *BRIEF), file_size=room)
    assert code == 2 and f"'{last}' can't be written" in said
    assert_whole(run)
    assert trained(small_run(dataset, run, *BRIEF, "--resume"))[0] == 0
    assert_same_run(run, out)


def test_a_full_file_system_keeps_the_last_epoch(unbroken, dataset, tmp_path):
    out, _ = unbroken
    size = (out / "last.safetensors").stat().st_size + (out / "best.safetensors").stat().st_size
    with small_disk(tmp_path / "disk", size + 100_000) as disk:  # no room for a second checkpoint
        run = disk / "run"
        code, said = trained(small_run(dataset, run, *BRIEF))
        assert code == 2 and "No space left on device" in said
        assert_whole(run)
        assert (run / "last.safetensors").exists()
        shutil.copytree(run, tmp_path / "roomier")
    run = tmp_path / "roomier"
    assert trained(small_run(dataset, run, *BRIEF, "--resume"))[0] == 0
    assert_same_run(run, out)


def test_a_finished_run_that_is_resumed_stays_as_it_is(unbroken, dataset, capsys):
    out, _ = unbroken
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert train.main(small_run(dataset, out, *BRIEF, "--resume")) == 0
    assert "finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_run_is_not_resumed_with_other_photos(tmp_path, capsys):
    data = draw_dataset(tmp_path / "discs", photos_per_class=10)
    command = small_run(data, tmp_path / "run", *BRIEF, "--epochs", "1")
    assert train.main(command) == 0
    shutil.rmtree(tmp_path / "run" / "model")  # as if killed before its end
    draw_photo("gold", 99_000).save(data / "yellow disc" / "new.png")
    assert train.main([*command, "--resume"]) == 2
    assert "was started with other photos" in capsys.readouterr().err


def test_a_run_killed_before_its_recipe_was_written_can_be_started_again(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".recipe.json.k1ll3d.tmp").write_text("{")
    recipe = load_recipe("flowers5")
    train.check_run(run, recipe, resume=False, overwrite=False)
    open_run(run, recipe, resume=False).release()
    assert {path.name for path in run.iterdir()} - {".lock"} == {"recipe.json"}


def test_two_trainings_do_not_write_to_one_folder(tmp_path, dataset, capsys):
    held = open_run(tmp_path / "run", load_recipe("flowers5"), resume=False)
    assert train.main(small_run(dataset, tmp_path / "run", *BRIEF, "--overwrite")) == 2
    assert "Another training is writing" in capsys.readouterr().err
    held.release()


def train_through_kills(run: Path, dataset: Path, rng: random.Random) -> int:
    """Starts a training, kills it after a while, resumes it and so on until one comes to its end."""
    for kills in range(1000):
        resume = ["--resume"] * (run / "recipe.json").exists()
        process = PROCESSES.Process(
            target=train_quietly, args=(small_run(dataset, run, *BRIEF, *resume),)
        )
        process.start()
        process.join(rng.uniform(0.05, 1.0 + 0.2 * kills))
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        process.kill()
        process.join()
        assert_whole(run)
    raise AssertionError("the run never came to its end")


def trained(arguments: list[str], *, file_size: int | None = None) -> tuple[int, str]:
    """The exit code of a training in a process of its own, and the last line on stderr."""
    with tempfile.NamedTemporaryFile() as errors:
        process = PROCESSES.Process(target=train_quietly, args=(arguments, errors.name, file_size))
        process.start()
        process.join()
        assert process.exitcode is not None
        said = Path(errors.name).read_text()
        assert "Traceback" not in said
        return process.exitcode, said.rpartition("\r")[2].strip()


def train_quietly(
    arguments: list[str], errors: str = os.devnull, file_size: int | None = None
) -> None:
    set_start_method("fork", force=True)  # for the loader's workers, as in a process of its own
    with (
        open(errors, "w") as said,
        contextlib.redirect_stdout(None),
        contextlib.redirect_stderr(said),
    ):
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        raise SystemExit(train.main(arguments))


def train_recorded(dataset: Path, out: Path, images: Path) -> None:
    with record_disk(out, images):
        train_quietly(small_run(dataset, out, *BRIEF))


def assert_whole(run: Path) -> None:
    """Whatever is there can be loaded, and does not contradict the rest."""
    if not run.exists():
        return
    if (run / "recipe.json").exists():
        json.loads((run / "recipe.json").read_text())
    epoch, best = -1, -1
    if (run / "last.safetensors").exists():
        with safe_open(run / "last.safetensors", "pt") as file:
            progress = json.loads(file.metadata()["progress"])
        assert load_file(run / "last.safetensors")
        epoch, best = progress["epoch"], progress["best_epoch"]
        assert len(progress["metrics"]) == epoch + 1
    if (run / "metrics.csv").exists():
        rows = [int(row["epoch"]) for row in csv.DictReader((run / "metrics.csv").open())]
        assert rows == list(range(len(rows)))
        assert len(rows) in (epoch, epoch + 1) or epoch == -1
    if (run / "best.safetensors").exists():
        with safe_open(run / "best.safetensors", "pt") as file:
            written = int(file.metadata()["epoch"])
        assert load_file(run / "best.safetensors")
        assert written == best or best in (epoch, -1)
    if (run / "model").exists():
        FlowerClassifier.from_pretrained(run / "model", runtime="torch")


def assert_same_run(run: Path, unbroken: Path) -> None:
    """Bit for bit the same weights, and the same metrics but for the seconds."""
    for name in ("model/model.safetensors", "best.safetensors"):
        assert (run / name).read_bytes() == (unbroken / name).read_bytes(), name
    here, there = (load_file(folder / "last.safetensors") for folder in (run, unbroken))
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in there)
    assert figures(run) == figures(unbroken)
    assert not list(run.glob(".*.tmp"))


def figures(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]


@contextlib.contextmanager
def small_disk(folder: Path, size: int):
    """A file system with room for `size` bytes; without the right to mount one the test is skipped."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}"]
    if subprocess.run(
        ["mount", *options, "none", folder], check=False, capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
