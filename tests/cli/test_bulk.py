"""python -m flower_model FOLDER --output FILE: each photo once, after any interruption."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from flower_model import FlowerClassifier
from tests.support.commands import ROOT, assert_one_sentence

COUNT = 600
BAD = {"0003.jpg": b"", "0100.jpg": b"not a photo", "0599.jpg": None}  # None: truncated


@pytest.fixture(scope="module")
def album(tmp_path_factory, flower_photo):
    """COUNT photos on two levels of folders; three are unreadable, and some have odd names."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "inner").mkdir()
    for number in range(COUNT):
        name = f"{number:04}.jpg"
        path = folder / ("inner" if number >= COUNT // 2 else "") / name
        if name in BAD:
            content = flower_photo.read_bytes()[:9000] if BAD[name] is None else BAD[name]
            path.write_bytes(content)
        else:
            os.link(flower_photo, path)
    for name in ("a, b.jpg", "two\nlines.jpg", "blume\udcff.jpg", 'quote".jpg'):
        os.link(flower_photo, folder / name)
    return folder


@pytest.fixture(scope="module")
def names(album):
    """The sorted file names as in CSV and Parquet."""
    paths = [path for path in album.rglob("*") if path.is_file()]
    return sorted(os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths)


def command(album, output, model, *words):
    return [
        *(sys.executable, "-m", "flower_model", str(album)),
        *("--output", str(output), "--model", str(model), *words),
    ]


def run(*words):
    return subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def rows_of(path):
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return pq.read_table(path).to_pylist()


def assert_each_photo_has_one_row(path, names):
    rows = rows_of(path)
    photos = [row["photo"].encode("utf-8", "backslashreplace").decode() for row in rows]
    assert sorted(photos) == [name.replace("\\xff", "\\udcff") for name in names]
    failed = sorted(os.path.basename(row["photo"]) for row in rows if row["error"])
    assert failed == sorted(BAD)
    assert all(bool(row["label"]) != bool(row["error"]) for row in rows)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_killed_run_resumes_without_losing_or_repeating_photos(
    suffix, album, names, tiny_folder, tmp_path
):
    output = tmp_path / f"answers{suffix}"
    journal = output if suffix == ".jsonl" else tmp_path / f"answers{suffix}.jsonl"
    for kills in (1, 2):
        with subprocess.Popen(command(album, output, tiny_folder), cwd=ROOT) as process:
            size = journal.stat().st_size if journal.exists() else 0
            while not journal.exists() or journal.stat().st_size <= size + 1000:
                assert process.poll() is None, "it finished before it could be killed"
                time.sleep(0.001)
            process.kill()
        assert journal.read_bytes().count(b"\n") < COUNT, f"finished before kill {kills}"
    result = run(album, output, tiny_folder)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == len(BAD), result.stderr
    assert_each_photo_has_one_row(output, names)
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_reports_its_progress_and_can_be_resumed(
    number, album, names, tiny_folder, tmp_path
):
    output = tmp_path / "answers.csv"
    process = subprocess.Popen(
        command(album, output, tiny_folder), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / "answers.csv.jsonl"
    while not journal.exists() or journal.stat().st_size < 1000:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.startswith("Stopped after ") and len(errors.splitlines()) == 1
    assert int(errors.split()[2]) == len(rows_of(journal)) < COUNT
    run(album, output, tiny_folder)
    assert_each_photo_has_one_row(output, names)


@pytest.fixture
def small_album(flower_photo, tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        shutil.copy(flower_photo, folder / name)
    return folder


def test_rows_equal_the_models_predictions(small_album, tiny_folder, flower_photo, tmp_path):
    output = tmp_path / "answers.csv"
    result = run(small_album, output, tiny_folder, "--top-k", "2")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    expected = FlowerClassifier.from_pretrained(tiny_folder).predict(flower_photo, top_k=2)
    rows = rows_of(output)
    assert [row["photo"] for row in rows] == [str(small_album / f"{n}.jpg") for n in (1, 2, 3)]
    assert list(rows[0]) == [
        *("photo", "error", "answer", "label", "botanical_name", "probability"),
        *("is_flower", "flower_probability", "is_known", "known_probability", "model"),
        *("label_2", "probability_2"),
    ]
    for row in rows:
        assert (row["label"], row["label_2"]) == tuple(label for label, _ in expected.top)
        assert float(row["probability"]) == pytest.approx(expected.probability, abs=0.02)


def test_results_of_other_options_are_rejected(small_album, tiny_folder, tmp_path):
    output = tmp_path / "answers.csv"
    run(small_album, output, tiny_folder)
    assert_one_sentence(run(small_album, output, tiny_folder, "--top-k", "2"), "--top-k 5")
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["flower_model"]["temperature"] = 2.0
    (other / "config.json").write_text(json.dumps(config))
    assert_one_sentence(run(small_album, output, other), "another model", output)


def test_shards_together_have_each_photo_once(album, names, tiny_folder, tmp_path):
    for shard in ("1/3", "2/3", "3/3"):
        run(album, tmp_path / "answers.csv", tiny_folder, "--shard", shard)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"answers-0000{n}-of-00003.csv" for n in (1, 2, 3)]
    photos = [row["photo"] for file in files for row in rows_of(file)]
    assert sorted(photos) == [name.replace("\\xff", "\\udcff") for name in names]
    assert all(rows_of(file) for file in files)


def test_shard_without_photos_is_an_empty_table(small_album, tiny_folder, tmp_path):
    for path in [*small_album.iterdir()][1:]:
        path.unlink()
    for shard in ("1/2", "2/2"):
        result = run(small_album, tmp_path / "answers.csv", tiny_folder, "--shard", shard)
        assert (result.returncode, result.stderr) == (0, "")
    assert sorted(len(rows_of(file)) for file in tmp_path.glob("answers*")) == [0, 1]


def test_shard_without_results_file_is_rejected(small_album, tmp_path):
    words = [sys.executable, "-m", "flower_model", str(small_album), "--shard", "1/2"]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert_one_sentence(result, "--shard requires --output")


def test_many_errors_are_listed_in_part_and_counted(tiny_folder, tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.jpg").touch()
    result = run(folder, tmp_path / "answers.csv", tiny_folder)
    assert result.returncode == 2
    *listed, counted = result.stderr.splitlines()
    assert len(listed) == 20 and "00.jpg' is empty" in listed[0]
    assert counted.startswith("30 photos could not be opened") and "answers.csv" in counted


def test_unknown_suffix_is_rejected_before_the_model_is_loaded(small_album, tmp_path):
    result = run(small_album, tmp_path / "answers.xlsx", tmp_path / "nowhere")
    assert_one_sentence(result, "must end in .csv, .jsonl or .parquet")


def test_memory_does_not_grow_with_the_number_of_photos(tiny_folder, flower_photo, tmp_path):
    def peak(count):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            os.link(flower_photo, folder / f"{number:05}.jpg")
        program = (
            "import resource, sys; from flower_model.cli.main import main; main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        words = command(folder, tmp_path / f"{count}.csv", tiny_folder)[3:]
        return int(
            subprocess.run(
                [sys.executable, "-c", program, *words],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
                timeout=300,
            ).stdout
        )  # kB

    few = peak(100)
    assert peak(600) <= few + 60_000  # decoded, 500 photos take 400 MB
