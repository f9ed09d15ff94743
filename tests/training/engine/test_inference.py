"""Outputs on photos that several processes share."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from accelerate import PartialState

from flower_model.runtimes.base import Compute
from tests.support.commands import free_port
from tests.support.drawn import draw_photo
from tests.support.forked import FORKS, TIMEOUT, prepare_fork
from training.data.decoded import decode_photos
from training.data.folders import Photo
from training.engine.inference import predict_distributed, predict_photos, torch_runtime


@pytest.mark.slow
def test_more_processes_than_photos_give_the_outputs_of_one(tmp_path):
    draw_photo("gold", 1).save(tmp_path / "0.png")
    port = free_port()
    processes = [
        FORKS.Process(target=save_outputs, args=(tmp_path, rank, port)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT)
    assert [process.exitcode for process in processes] == [0, 0]
    _, runtime, photos = arguments(tmp_path)
    expected, _ = predict_photos(runtime(), photos, title="predicting")
    for rank in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"{rank}.npy"), expected, atol=1e-5)


def save_outputs(folder: Path, rank: int, port: int) -> None:
    prepare_fork()
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "RANK": rank}
    place |= {"LOCAL_WORLD_SIZE": 2, "LOCAL_RANK": rank, "OMP_NUM_THREADS": 1}
    os.environ.update({name: str(value) for name, value in place.items()})
    PartialState(cpu=True)
    logits, _ = predict_distributed(*arguments(folder), title="predicting")
    np.save(folder / f"{rank}.npy", logits)


def arguments(folder: Path) -> tuple:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    photos = decode_photos([Photo(folder / "0.png", "")], 64, cache=False)
    return network, partial(torch_runtime, network, Compute("cpu", "fp32"), 64), photos
