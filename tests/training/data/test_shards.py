"""Datasets in Parquet and WebDataset shards, on the Hub and in folders, copied and streamed."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from subprocess import CompletedProcess

import datasets
import numpy as np
import pytest
from huggingface_hub import constants

from flower_model import FlowerClassifier
from flower_model.errors import DataError, HubError
from tests.support.commands import run_all
from tests.support.drawn import COLOURS, draw_dataset, draw_photo
from tests.support.drawn_shards import (
    PER_CLASS,
    digests,
    parquet,
    parquet_images,
    parquet_of,
    png,
    shard,
)
from tests.support.hub import HubServer
from tests.training.test_training import small_run
from training.data import shards
from training.data.loader import EncodedPhotos
from training.data.sampling import load_photos
from training.data.streaming import StreamedPhotos, open_stream, stream_source
from training.recipe import Data

BRIEF = ["--set", "finetune.epochs=1"]


@pytest.fixture(scope="module")
def on_the_hub(tmp_path_factory) -> tuple[Path, dict[str, CompletedProcess[str]]]:
    """A run on a dataset of a Hub, and what it and other commands printed."""
    home = tmp_path_factory.mktemp("hub")
    with HubServer() as hub:
        hub.add_repo("flora/discs", {"data/train-0.parquet": parquet()}, repo_type="dataset")
        tars = {f"train-{number:04}.tar": shard(number) for number in range(2)}
        hub.add_repo("flora/shards", tars, repo_type="dataset")
        hub.add_repo("flora/table", {"table.csv": b"a,b\n1,2\n"}, repo_type="dataset")
        commands = {
            name: ("training.train", small_run(f"hf://datasets/flora/{name}", home / name, *BRIEF))
            for name in ("discs", "shards", "table", "missing")
        }
        commands["again"] = ("training.calibrate", [str(home / "discs" / "model")])
        env = hub.environment(home / "home") | {"HF_ASSETS_CACHE": str(home / "assets")}
        results = run_all([*commands.values()], env)
    return home / "discs", dict(zip(commands, results, strict=True))


def test_training_on_a_hub_dataset_in_parquet(on_the_hub):
    out, results = on_the_hub
    assert results["discs"].returncode == 0, results["discs"].stderr
    assert "3 classes" in results["discs"].stdout
    config = json.loads((out / "model" / "config.json").read_text())
    assert sorted(config["label_names"]) == sorted(COLOURS)
    assert config["flower_model"]["train"]["sources"] == ["hf://datasets/flora/discs:train"]
    assert results["again"].returncode == 0, results["again"].stderr


def test_training_on_a_hub_dataset_in_webdataset_shards(on_the_hub):
    printed = on_the_hub[1]["shards"]
    assert printed.returncode == 0, printed.stderr
    assert "3 classes" in printed.stdout


@pytest.mark.parametrize("name", ["missing", "table"])
def test_missing_or_unlabelled_dataset_is_rejected(on_the_hub, name):
    printed = on_the_hub[1][name]
    assert printed.returncode == 2
    assert f"hf://datasets/flora/{name}" in printed.stderr and "Traceback" not in printed.stderr


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    # datasets sleeps after each pass over the shards to work around a bug in Arrow
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)
    return tmp_path / "assets"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two shards of training photos, one of validation photos."""
    folder = tmp_path / "discs"
    folder.mkdir()
    for number in range(2):
        part = range(number * PER_CLASS, (number + 1) * PER_CLASS)
        (folder / f"train-{number:05}-of-00002.parquet").write_bytes(parquet(part))
    (folder / "validation-00000-of-00001.parquet").write_bytes(parquet(range(100, 103)))
    return folder


@pytest.fixture
def stream(folder, cache) -> StreamedPhotos:
    found = open_stream(data_of(folder), Path())
    assert found is not None
    return found


def data_of(folder: Path) -> Data:
    return Data(train=(f"{folder}:train",), val=(f"{folder}:val",), stream=True)


def draws_of(stream: StreamedPhotos, **changes) -> Iterator[tuple[bytes, int]]:
    """(encoded photo, class index) of the photos that this process reads."""
    return stream.draws(**{"balance": 0.0, "seed": 3, "process": 0, "processes": 1} | changes)


def pass_over(stream: StreamedPhotos, **changes) -> list[tuple[bytes, int]]:
    """Those of an epoch."""
    return list(islice(draws_of(stream, **changes), len(stream) // changes.get("processes", 1)))


def test_training_on_streamed_shards(folder, tmp_path, run_module):
    out = tmp_path / "run"
    words = small_run(folder, out, "--stream", *BRIEF)
    printed = run_module("training.train", *words)
    assert printed.returncode == 0, printed.stderr
    assert f"3 classes, {6 * PER_CLASS} photos to train on, 9 held out" in printed.stdout
    model = FlowerClassifier.from_pretrained(out / "model")
    answers = model.predict([draw_photo(colour, 99_000) for colour in COLOURS.values()])
    assert [answer.label for answer in answers] == list(COLOURS)


def test_stream_yields_every_photo_once_per_epoch(stream):
    seen = pass_over(stream)
    assert len(seen) == len(set(seen)) == len(stream) == 6 * PER_CLASS
    assert Counter(target for _, target in seen) == dict.fromkeys(range(3), 2 * PER_CLASS)


def test_processes_divide_a_stream(stream):
    shares = [pass_over(stream, process=process, processes=2) for process in range(2)]
    assert len(set(shares[0]) | set(shares[1])) == len(stream)


def test_stream_order_is_determined_by_its_seed(stream):
    assert pass_over(stream) == pass_over(stream)
    assert pass_over(stream) != pass_over(stream, seed=4)


def test_copies_of_held_out_photos_are_not_drawn(folder, cache):
    held_out = parquet_images(parquet(range(100, 103)))
    (folder / "train-00002-of-00002.parquet").write_bytes(parquet(range(100, 103)))
    photos = load_photos(data_of(folder), Path(), 64)
    assert photos.stream is not None and len(photos.train) == 6 * PER_CLASS
    seen = [content for content, _ in islice(draws_of(photos.stream), 2 * len(photos.stream))]
    assert not set(seen) & held_out
    assert len(set(seen)) == 6 * PER_CLASS


def test_process_whose_shards_hold_only_copies_of_held_out_photos_gets_others(folder, cache):
    copies = digests(parquet_images(parquet(range(PER_CLASS))))
    stream = open_stream(data_of(folder), Path(), copies)
    for process in range(2):  # one for each of the two shards
        shares = islice(draws_of(stream, process=process, processes=2), 3 * PER_CLASS)
        drawn = digests(content for content, _ in shares)
        assert len(drawn) == 3 * PER_CLASS and not drawn & copies


@pytest.mark.parametrize("processes", [1, 2])
def test_stream_of_copies_of_held_out_photos_is_rejected(folder, cache, processes):
    files = [parquet(range(n, n + PER_CLASS)) for n in (0, PER_CLASS)]
    copies = digests(image for file in files for image in parquet_images(file))
    stream = open_stream(data_of(folder), Path(), copies)
    with pytest.raises(DataError, match="are copies of held-out photos: add others"):
        next(draws_of(stream, processes=processes))


def test_class_whose_sampled_photos_cannot_be_opened_is_rejected(tmp_path, cache):
    folder = tmp_path / "odd"
    folder.mkdir()
    first, *others = sorted(COLOURS)
    labels = [label for label in (first, *others) for _ in range(4)]
    broken = [b"\xff\xd8 cut short %d" % number for number in range(4)]
    images = broken + [png(label, number) for number, label in enumerate(labels[4:])]
    (folder / "train-0.parquet").write_bytes(parquet_of(labels, images=images))
    (folder / "validation-0.parquet").write_bytes(parquet_of(others, 100))
    with pytest.raises(DataError, match=f"Class '{first}' of the stream has no usable photo"):
        load_photos(data_of(folder), Path(), 64)


def test_balanced_stream_oversamples_a_small_class(tmp_path, cache):
    folder = tmp_path / "uneven"
    folder.mkdir()
    labels = [label for label in COLOURS for _ in range(2 if label == min(COLOURS) else 14)]
    (folder / "train-0.parquet").write_bytes(parquet_of(labels))
    (folder / "validation-0.parquet").write_bytes(parquet(range(100, 102)))
    stream = open_stream(data_of(folder), Path())
    even = Counter(target for _, target in pass_over(stream, balance=1.0))
    counted = Counter(target for _, target in pass_over(stream, balance=0.0))
    assert counted[0] < 4 and even[0] > 6


def test_sample_of_a_stream_has_equally_many_photos_per_class(folder, cache, monkeypatch):
    monkeypatch.setattr(shards, "SAMPLE", 9)
    sample = shards.fetch_sample(str(folder))
    kept = Counter(file.parent.name for file in (sample / "train").glob("*/*"))
    assert kept == dict.fromkeys(COLOURS, 3)
    assert json.loads((sample / "counts.json").read_text()) == dict.fromkeys(COLOURS, 2 * PER_CLASS)


def test_sample_of_the_first_class_is_random_too(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(shards, "SAMPLE", 9)
    folder = tmp_path / "sorted"
    folder.mkdir()
    for split, numbers in (("train", range(30)), ("validation", range(100, 102))):
        (folder / f"{split}-0.parquet").write_bytes(parquet(numbers))
    sample = shards.fetch_sample(str(folder))
    places = sorted(int(f.name) for f in (sample / "train" / next(iter(COLOURS))).iterdir())
    assert len(places) == 3 and max(places) > 9


def test_shards_in_a_folder_are_copied_to_class_folders(folder, cache):
    train = shards.fetch_split(str(folder), "train")
    assert len([*train.glob("*/*")]) == 6 * PER_CLASS
    assert shards.fetch_split(str(folder), "test") is None


def test_stream_without_a_validation_split_is_rejected(folder, cache):
    next(folder.glob("validation*")).unlink()
    with pytest.raises(DataError, match="requires a training and a validation split"):
        open_stream(data_of(folder), Path())


def test_streaming_a_folder_without_shards_is_rejected(tmp_path, cache):
    draw_dataset(tmp_path / "set", 2)
    with pytest.raises(DataError, match="--stream needs a single dataset"):
        open_stream(data_of(tmp_path / "set"), Path())


def test_streamed_folder_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "train.parquet").write_bytes(parquet())
    assert stream_source(("~/shards:train", "~/shards"), Path()) == str(tmp_path / "shards")


def test_shards_deleted_during_training_raise_a_hub_error(stream, folder):
    draws = stream.draws(balance=0.0, seed=0, process=0, processes=1)
    next(draws)
    for file in folder.glob("train*"):
        file.unlink()
    with pytest.raises(HubError, match="discs' can't be read"):
        for _ in draws:
            pass


def test_unreadable_photo_is_replaced_by_the_next_one():
    files = [(b"no photo", 0), (png("red disc", 1), 1), (png("red disc", 2), 2)]
    opened = EncodedPhotos(files, np.asarray)
    assert [target for _, target in (opened[0], opened[1], opened[2])] == [1, 1, 2]
    with pytest.raises(DataError, match="1 consecutive photos"):
        EncodedPhotos(files[:1], np.asarray)[0]
