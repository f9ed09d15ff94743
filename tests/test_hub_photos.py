"""Photos from a dataset on the Hub, as Parquet and as WebDataset shards."""

import io
import json
import tarfile

import pytest
from datasets import ClassLabel, Dataset, Features, Image
from drawn import COLOURS, draw_photo
from test_training import small_run

PER_CLASS = 8
BRIEF = ["--set", "finetune.epochs=1"]


def test_a_run_on_a_dataset_of_parquet_files(hub, tmp_path, run_module):
    hub.add_repo(
        "flora/discs", {"data/train-00000-of-00001.parquet": parquet()}, repo_type="dataset"
    )
    out = tmp_path / "run"
    words = small_run("hf://datasets/flora/discs", out, *BRIEF)
    environment = hub.environment(tmp_path / "home") | {"HF_ASSETS_CACHE": str(tmp_path / "assets")}
    printed = run_module("training.train", *words, **environment)
    assert printed.returncode == 0, printed.stderr
    assert "3 classes" in printed.stdout
    config = json.loads((out / "model" / "config.json").read_text())
    assert sorted(config["label_names"]) == sorted(COLOURS)
    assert "discs:train" in json.dumps(config)


def test_a_run_on_a_dataset_of_webdataset_shards(hub, tmp_path, run_module):
    shards = {f"train-{number:04}.tar": shard(number) for number in range(2)}
    hub.add_repo("flora/shards", shards, repo_type="dataset")
    words = small_run("hf://datasets/flora/shards", tmp_path / "run", *BRIEF)
    environment = hub.environment(tmp_path / "home") | {"HF_ASSETS_CACHE": str(tmp_path / "assets")}
    printed = run_module("training.train", *words, **environment)
    assert printed.returncode == 0, printed.stderr
    assert "3 classes" in printed.stdout


@pytest.mark.parametrize("files", [None, {"table.csv": b"a,b\n1,2\n"}])
def test_a_dataset_that_is_none_is_refused(hub, tmp_path, run_module, files):
    if files:
        hub.add_repo("flora/none", files, repo_type="dataset")
    words = small_run("hf://datasets/flora/none", tmp_path / "run", *BRIEF)
    environment = hub.environment(tmp_path / "home") | {"HF_ASSETS_CACHE": str(tmp_path / "assets")}
    printed = run_module("training.train", *words, **environment)
    assert printed.returncode == 2
    assert "hf://datasets/flora/none" in printed.stderr and "Traceback" not in printed.stderr


def png(label: str, number: int) -> bytes:
    file = io.BytesIO()
    draw_photo(COLOURS[label], number + 1000 * list(COLOURS).index(label)).save(file, "PNG")
    return file.getvalue()


def parquet() -> bytes:
    """A file as `datasets` pushes them to the Hub, with names of classes."""
    numbers = range(PER_CLASS)
    table = Dataset.from_dict(
        {
            "image": [{"bytes": png(label, n), "path": None} for label in COLOURS for n in numbers],
            "label": [index for index in range(len(COLOURS)) for _ in numbers],
        },
        Features(image=Image(), label=ClassLabel(names=list(COLOURS))),
    )
    file = io.BytesIO()
    table.to_parquet(file)
    return file.getvalue()


def shard(which: int) -> bytes:
    """A tar file of pairs, NUMBER.png and NUMBER.cls, which holds the number of the class."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for label in COLOURS:
            for number in range(which * PER_CLASS // 2, (which + 1) * PER_CLASS // 2):
                key = f"{list(COLOURS).index(label)}{number:03}"
                for suffix, content in (
                    ("png", png(label, number)),
                    ("cls", b"%d" % list(COLOURS).index(label)),
                ):
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return file.getvalue()
