"""--engine ray on a cluster of two machines, which are processes here."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from tests.support.commands import ROOT, assert_one_sentence

pytest.importorskip("ray.data", reason="Ray is not installed")
from ray.cluster_utils import Cluster

COUNT = 3000
BAD = {"0003.jpg": b"", "1100.jpg": b"not a photo"}


@pytest.fixture(scope="module")
def cluster():
    """A head without workers, and two machines with a core each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def album(tmp_path_factory, flower_photo):
    """COUNT photos, two of them unreadable."""
    folder = tmp_path_factory.mktemp("album")
    for number in range(COUNT):
        name = f"{number:04}.jpg"
        if name in BAD:
            (folder / name).write_bytes(BAD[name])
        else:
            os.link(flower_photo, folder / name)
    return folder


@pytest.fixture
def start():
    """`start(address, "album", …)` starts the command on the cluster at an address."""
    started = []

    def start(address, *words):
        command = [sys.executable, "-m", "flower_model", *map(str, words), "--engine", "ray"]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": address},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def finish(process):
    output, errors = process.communicate(timeout=180)
    return subprocess.CompletedProcess([], process.returncode, output, errors)


def rows_of(output):
    return pq.read_table(str(output)).to_pylist()


def wait_for_parts(process, output, count):
    while len(list(output.glob("part-*"))) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def workers():
    """Return the processes of workers, by the name that Ray gives them."""
    return [p for p in psutil.process_iter() if "MapBatches(Worker)" in " ".join(_line(p))]


def _line(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_answers_equal_those_of_the_local_engine(start, album, tiny_folder, cluster, tmp_path):
    photos = [album / f"{number:04}.jpg" for number in range(300)]
    words = [*photos, "--model", tiny_folder, "--top-k", "2", "--output"]
    result = finish(start(cluster.address, *words, tmp_path / "ray"))
    assert result.returncode == 2
    assert result.stderr == f"'{album}/0003.jpg' is empty: copy or download it again.\n"
    local = [
        sys.executable,
        "-m",
        "flower_model",
        *map(str, words),
        str(tmp_path / "local.parquet"),
    ]
    subprocess.run(local, cwd=ROOT, capture_output=True, check=False, timeout=120)
    found = sorted(rows_of(tmp_path / "ray"), key=lambda row: row["photo"])
    assert found == rows_of(tmp_path / "local.parquet")


def test_worker_machine_and_driver_that_are_killed_cost_no_photo(
    start, album, tiny_folder, cluster, tmp_path
):
    output = tmp_path / "answers"
    words = [album, "--model", tiny_folder, "--output", output]
    process = start(cluster.address, *words)
    wait_for_parts(process, output, 1)
    workers()[0].kill()
    wait_for_parts(process, output, 3)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    wait_for_parts(process, output, 6)
    process.kill()
    process.wait()
    assert len(list(output.glob("part-*"))) < COUNT / 256, "it finished before it could be killed"
    result = finish(start(cluster.address, *words))
    assert result.returncode == 2, result.stderr
    rows = rows_of(output)
    expected = Counter(str(album / f"{number:04}.jpg") for number in range(COUNT))
    assert Counter(row["photo"] for row in rows) == expected
    assert {Path(row["photo"]).name for row in rows if row["error"]} == set(BAD)


def test_stopped_command_says_how_to_go_on(start, album, tiny_folder, cluster, tmp_path):
    output = tmp_path / "answers"
    process = start(cluster.address, album, "--model", tiny_folder, "--output", output)
    wait_for_parts(process, output, 1)
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert result.returncode == 128 + signal.SIGINT
    assert result.stderr.startswith("Stopped after ") and len(result.stderr.splitlines()) == 1


def test_damaged_model_is_reported_in_one_sentence(start, album, tiny_folder, cluster, tmp_path):
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    (model / "model.safetensors").write_bytes(b"damaged")
    process = start(cluster.address, album, "--model", model, "--output", tmp_path / "answers")
    assert_one_sentence(finish(process), "model.safetensors")


def test_bucket_is_answered_into_a_bucket(start, album, tiny_folder, s3):
    for number in range(5):
        pyarrow.fs.copy_files(f"{album}/{number:04}.jpg", f"{s3}/album/{number:04}.jpg")
    words = ["--model", tiny_folder, "--cores-per-worker", "1"]
    result = finish(start("local", f"{s3}/album", "--output", f"{s3}/answers", *words))
    assert (
        result.returncode == 2
        and result.stderr == "The file is empty: copy or download it again.\n"
    )
    rows = rows_of(f"{s3}/answers")
    assert [row["photo"] for row in rows] == [f"{s3}/album/{number:04}.jpg" for number in range(5)]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True, False]


def test_cluster_that_does_not_answer_is_reported(start, album, tiny_folder, tmp_path):
    words = [album, "--model", tiny_folder, "--output", tmp_path / "answers"]
    assert_one_sentence(finish(start("127.0.0.1:9", *words)), "No Ray cluster", "127.0.0.1:9")
