"""One training script on one process or several, which Accelerate starts."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.commands import ROOT, assert_one_sentence, free_port
from tests.support.drawn import draw_dataset
from tests.support.forked import Fork
from tests.training.test_training import small_run
from training import train
from training.recipe import load_recipe

# Layer norm instead of batch norm: what a photo does does not depend on the others of its process.
SETTINGS = ["model.architecture='test_convnext'", "finetune.epochs=3", "finetune.lr=1e-3"]
SETTINGS += ["finetune.mixup=0.0", "finetune.keep='last'", "finetune.precision='fp32'"]
SETTINGS = [word for setting in SETTINGS for word in ("--set", setting)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("data") / "discs", photos_per_class=12)


@pytest.fixture(scope="module")
def by_one(dataset, tmp_path_factory, run_module) -> Path:
    out = tmp_path_factory.mktemp("runs") / "one"
    printed = run_module("training.train", *small_run(dataset, out, *SETTINGS))
    assert printed.returncode == 0, printed.stderr
    return out


@pytest.fixture(scope="module")
def by_two(dataset, tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("runs") / "two"
    printed = [process.result() for process in start_two(small_run(dataset, out, *SETTINGS))]
    assert [process.returncode for process in printed] == [0, 0], printed[0].stderr
    return out, "".join(process.stdout for process in printed)


def test_two_processes_give_the_result_of_one(by_one, by_two):
    out, _ = by_two
    assert_close(out, by_one)


def test_two_processes_print_each_line_once(by_two):
    _, printed = by_two
    assert printed.count("photos to train on") == 1
    assert printed.count("epoch  3/3") == 1
    assert printed.count("Model saved") == 1


def test_two_machines_give_the_result_of_one(by_one, dataset, tmp_path):
    """One is started by each of the two launchers, which set the same variables."""
    out, port = tmp_path / "run", free_port()
    torchrun = ["torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"]
    torchrun += ["--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{port}", "-m"]
    accelerate = [
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_machines=2",
        "--machine_rank=1",
    ]
    accelerate += ["--num_processes=2", "--rdzv_backend=c10d", "--main_process_ip=127.0.0.1"]
    accelerate += [f"--main_process_port={port}", "--mixed_precision=no", "--dynamo_backend=no"]
    words = ["training.train", *small_run(dataset, out, *SETTINGS)]
    machines = [start(*launch, *words) for launch in (torchrun, [*accelerate, "-m"])]
    for machine in machines:
        _, errors = machine.communicate(timeout=120)
        assert machine.returncode == 0, errors
    assert_close(out, by_one)


def test_two_processes_connect_with_default_settings(dataset, tmp_path):
    first, second = start_two(small_run(dataset, tmp_path / "run"))
    for process in (first, second):
        printed = process.result()
        assert printed.returncode == 0, printed.stderr
        assert printed.stdout.count("Model saved") == (process is first)


def test_explain_on_two_processes_is_rejected(dataset, tmp_path):
    for process in start_two(small_run(dataset, tmp_path / "run", "--explain")):
        assert_one_sentence(process.result(), "--explain runs in one process")


def test_killed_and_resumed_processes_give_the_same_weights(by_two, dataset, tmp_path):
    command = small_run(dataset, tmp_path / "killed", *SETTINGS)
    forks = start_two(command)
    wait_for_epoch(tmp_path / "killed", lambda: all(fork.process.is_alive() for fork in forks))
    for fork in forks:
        fork.process.kill()
        fork.process.join()
    assert not (tmp_path / "killed" / "model").exists()

    resumed = [fork.result() for fork in start_two([*command, "--resume"])]
    assert [printed.returncode for printed in resumed] == [0, 0], resumed[0].stderr
    assert resumed[0].stdout.count("Resuming after epoch") == 1
    out, _ = by_two
    for name in ("last", "best"):
        here, there = (load_file(run / f"{name}.safetensors") for run in (tmp_path / "killed", out))
        assert all(torch.equal(here[key], there[key]) for key in there)


def test_gradient_accumulation_gives_the_same_step(by_one, dataset, tmp_path, run_module):
    out = tmp_path / "parts"
    command = small_run(dataset, out, *SETTINGS, "--set", "finetune.accumulate=2")
    printed = run_module("training.train", *command)
    assert printed.returncode == 0, printed.stderr
    assert_close(out, by_one)


def test_indivisible_batch_is_rejected(dataset, tmp_path, run_module):
    command = small_run(dataset, tmp_path / "out", "--set", "finetune.accumulate=3")
    printed = run_module("training.train", *command)
    assert printed.returncode == 2
    assert "Choose a multiple of 6 (1 processes, accumulate 3)" in printed.stderr


def start(*words: str) -> subprocess.Popen[str]:
    """`python -m word …` without a GPU."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def start_two(words: list[str]) -> list[Fork]:
    """The command on two processes that find each other by the variables of `torchrun`."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    place |= {"LOCAL_WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return [
        Fork("training.train", *words, RANK=rank, LOCAL_RANK=rank, **place) for rank in ("0", "1")
    ]


def wait_for_epoch(run: Path, is_running: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not (run / "last.safetensors").exists():
        assert is_running() and time.monotonic() < deadline
        time.sleep(0.02)


def assert_close(run: Path, other: Path) -> None:
    """The same weights and figures, but for the order in which a step's photos are added up."""
    here, there = (load_file(folder / "last.safetensors") for folder in (run, other))
    for name in there:
        if name.startswith(("network.", "average.")):
            torch.testing.assert_close(here[name], there[name], rtol=1e-3, atol=1e-4)
    for mine, its in zip(rows(run), rows(other), strict=True):
        for figure in ("train_loss", "val_loss", "val_accuracy"):
            assert float(mine[figure] or 0) == pytest.approx(float(its[figure] or 0), rel=1e-3)


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").open()))


def test_training_uses_the_cores_of_its_container(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr("flower_model.system.cores.usable_cores", lambda: 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    torch.set_num_threads(2)
    try:
        train.prepare_accelerator(load_recipe("flowers5"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
