"""CUDA: answers agree with the CPU's, training runs and resumes, and what a GPU can't do is a sentence."""

import multiprocessing

import numpy as np
import pytest
import torch

from flower_model import FlowerClassifier, FlowerModelError
from flower_model.runtimes.base import Compute
from flower_model.runtimes.pytorch import TorchRuntime
from tests.support.drawn import COLOURS, draw_dataset, draw_photo
from tests.training.test_training import small_run
from training.engine.preflight import explain_out_of_memory
from training.recipe import RecipeError

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 160, 160, 3), dtype=np.uint8)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 3e-2)])
def test_outputs_agree_with_the_cpu(tiny_folder, pixels, precision, tolerance):
    def runtime(device, precision):
        model = FlowerClassifier.from_pretrained(tiny_folder, runtime="torch", device="cpu")
        return TorchRuntime(model.network, Compute(device, precision))

    expected = runtime("cpu", "fp32")(pixels)
    for found, reference in zip(runtime("cuda", precision)(pixels), expected, strict=True):
        assert found.dtype == np.float32
        assert np.abs(found - reference).max() <= tolerance * np.abs(reference).max()


def test_gpu_is_taken_without_being_asked_for(tiny_folder, flower_photo):
    model = FlowerClassifier.from_pretrained(tiny_folder)
    assert model.runtime.name == "PyTorch on cuda, bf16"
    on_cpu = FlowerClassifier.from_pretrained(tiny_folder, runtime="torch", device="cpu")
    photos = [flower_photo] * 200  # more than one batch
    answers = model.predict(photos)
    assert {answer.label for answer in answers} == {on_cpu.predict(flower_photo).label}


def test_int8_is_refused_on_a_gpu(tiny_folder):
    with pytest.raises(FlowerModelError, match="int8 needs the runtime openvino, on the CPU"):
        FlowerClassifier.from_pretrained(tiny_folder, device="cuda", precision="int8")


def test_device_that_is_missing_is_refused(tiny_folder):
    with pytest.raises(FlowerModelError, match="no device 'cuda:99' on this machine"):
        FlowerClassifier.from_pretrained(tiny_folder, device="cuda:99")


def test_forked_process_is_refused(tiny_folder, pixels):
    runtime = FlowerClassifier.from_pretrained(tiny_folder, device="cuda").runtime
    runtime(pixels)
    fork = multiprocessing.get_context("fork")
    messages = fork.Queue()

    def use() -> None:
        try:
            runtime(pixels)
        except FlowerModelError as error:
            messages.put(str(error))

    process = fork.Process(target=use)
    process.start()
    assert "can't be used in a forked process" in messages.get(timeout=60)
    process.join(60)


def test_full_gpu_memory_names_the_settings_to_change():
    with pytest.raises(RecipeError, match="Lower finetune.batch_size"), explain_out_of_memory():
        torch.empty(2**44, dtype=torch.uint8, device="cuda")


def test_training_learns_and_resumes(tmp_path, run_module):
    data = draw_dataset(tmp_path / "discs")
    first = run_module("training.train", *small_run(data, tmp_path / "run"))
    assert first.returncode == 0, first.stderr
    model = FlowerClassifier.from_pretrained(tmp_path / "run" / "model")
    photos = [draw_photo(colour, 99_000) for colour in COLOURS.values()]
    assert [answer.label for answer in model.predict(photos)] == list(COLOURS)
    assert torch.cuda.get_device_name() in str(model.config.details)

    # Killed before the model is written: the last epochs are repeated from the checkpoint.
    (tmp_path / "run" / "model").rename(tmp_path / "unbroken")
    resumed = run_module("training.train", *small_run(data, tmp_path / "run", "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    again = FlowerClassifier.from_pretrained(tmp_path / "run" / "model")
    assert [answer.label for answer in again.predict(photos)] == list(COLOURS)
