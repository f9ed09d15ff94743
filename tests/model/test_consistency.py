"""A model answers with, saves and moves to other processes one set of weights."""

import copy
import os
import pickle
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_image
from torch.utils.data import DataLoader, Dataset

from flower_model import FlowerClassifier, FlowerModelError, ModelError
from flower_model.config import ModelConfig


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "copy")


@pytest.fixture(params=["openvino", "torch"])
def model(request, folder) -> FlowerClassifier:
    return FlowerClassifier.from_pretrained(folder, runtime=request.param, device="cpu")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return load_sample_image("flower.jpg")


def change_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["fc.bias"] = tensors["fc.bias"].flip(0) + 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


# Saving


def test_saved_model_gives_the_answers_of_the_loaded_one(model, photo, tmp_path):
    before = model.predict(photo).top
    model.save_pretrained(tmp_path / "saved")
    saved = FlowerClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert dict(saved.predict(photo).top) == pytest.approx(dict(before), abs=0.02)


def test_model_never_saves_weights_that_replaced_its_own(model, folder, photo, tmp_path):
    before = model.predict(photo).top
    change_weights(folder)
    assert model.predict(photo).top == before
    if model.runtime.name.startswith("OpenVINO"):
        with pytest.raises(ModelError, match="changed after the model was loaded"):
            model.save_pretrained(tmp_path / "saved")
        assert not (tmp_path / "saved").exists()
    else:
        model.save_pretrained(tmp_path / "saved")
        saved = FlowerClassifier.from_pretrained(tmp_path / "saved", runtime="torch", device="cpu")
        assert dict(saved.predict(photo).top) == pytest.approx(dict(before), abs=0.02)


def test_config_changed_after_loading_is_not_saved(folder, tmp_path):
    model = FlowerClassifier.from_pretrained(folder, runtime="openvino")
    path = folder / "config.json"
    path.write_text(path.read_text().replace("tulip", "tulips"))
    with pytest.raises(ModelError, match="changed after the model was loaded"):
        model.network  # noqa: B018


def test_weights_beyond_the_range_of_16_bits_are_stored_in_32(tiny_model, photo, tmp_path):
    network = copy.deepcopy(tiny_model.network)
    with torch.no_grad():
        network.fc.weight *= 1e6 / network.fc.weight.abs().max()
    model = FlowerClassifier(network, tiny_model.config, device="cpu")
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["fc.weight"].dtype == torch.float32
    assert stored["layer1.0.conv1.weight"].dtype == torch.float16
    expected = model.runtime(model.to_pixels(photo)[None]).logits
    for runtime in ("torch", "openvino"):
        loaded = FlowerClassifier.from_pretrained(
            tmp_path, runtime=runtime, device="cpu", precision="fp32"
        )
        logits = loaded.runtime(loaded.to_pixels(photo)[None]).logits
        assert np.abs(logits - expected).max() <= 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("labels", ["abcd", "abcdef", "a"])
def test_labels_that_do_not_match_the_outputs_are_rejected(tiny_model, labels):
    config = replace(tiny_model.config, labels=tuple(labels), descriptions={})
    with pytest.raises(ModelError, match=f"5 outputs but there are {len(labels)} labels"):
        FlowerClassifier(tiny_model.network, config, device="cpu")


def test_labels_that_do_not_match_a_given_runtime_are_rejected(folder, tiny_model):
    runtime = FlowerClassifier.from_pretrained(folder, runtime="openvino").runtime
    config = replace(tiny_model.config, labels=("a", "b"), descriptions={})
    with pytest.raises(ModelError, match="5 outputs but there are 2 labels"):
        FlowerClassifier(tiny_model.network, config, runtime=runtime)


# Other processes


def test_pickled_and_copied_models_give_the_same_answers(model, photo):
    expected = model.predict(photo).top
    assert pickle.loads(pickle.dumps(model)).predict(photo).top == expected
    assert copy.deepcopy(model).predict(photo).top == expected
    assert copy.copy(model).predict(photo).top == expected


def test_pickle_of_a_changed_folder_is_rejected_unless_cached(folder, monkeypatch, tmp_path):
    pickled = pickle.dumps(FlowerClassifier.from_pretrained(folder, runtime="openvino"))
    change_weights(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ModelError, match="changed after the model was loaded"):
        pickle.loads(pickled)


def test_forked_process_can_predict(model, photo):
    expected = model.predict(photo).label
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sender, model.predict(photo).label.encode())
            os.write(sender, model.predict([photo] * 40)[-1].label.encode())
        finally:
            os._exit(0)
    os.close(sender)
    signal.alarm(120)  # a child that waits for threads of its parent would wait indefinitely
    try:
        with os.fdopen(receiver) as pipe:
            assert pipe.read() == 2 * expected
    finally:
        signal.alarm(0)
        os.waitpid(child, 0)


class Answers(Dataset):
    """The answers of two models in turn."""

    def __init__(self, models: list[FlowerClassifier], photo: np.ndarray) -> None:
        self.models, self.photo = models, photo

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> str:
        return self.models[index % 2].predict(self.photo).label


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers_can_predict(folder, photo, method):
    models = [
        FlowerClassifier.from_pretrained(folder, runtime=runtime, device="cpu")
        for runtime in ("openvino", "torch")
    ]
    loader = DataLoader(
        Answers(models, photo), num_workers=1, multiprocessing_context=method, timeout=120
    )
    assert [label for [label] in loader] == [model.predict(photo).label for model in models] * 2


# Networks given to the constructor


def networks(tiny_model):
    original = tiny_model.network
    yield "compiled", torch.compile(copy.deepcopy(original))
    yield "DataParallel", torch.nn.DataParallel(copy.deepcopy(original))
    yield "compiled DataParallel", torch.compile(torch.nn.DataParallel(copy.deepcopy(original)))
    yield "averaged", torch.optim.swa_utils.AveragedModel(original)
    yield "half", copy.deepcopy(original).half()
    yield "bfloat16", copy.deepcopy(original).bfloat16()
    yield "double", copy.deepcopy(original).double()
    yield "training mode", copy.deepcopy(original).train()


@pytest.mark.slow
def test_wrapped_and_half_precision_networks_are_accepted(tiny_model, photo, tmp_path):
    expected = dict(tiny_model.predict(photo).top)
    for name, network in networks(tiny_model):
        model = FlowerClassifier(network, tiny_model.config, device="cpu")
        assert dict(model.predict(photo).top) == pytest.approx(expected, abs=0.05), name
        model.save_pretrained(tmp_path / name)
        loaded = FlowerClassifier.from_pretrained(tmp_path / name, device="cpu")
        assert dict(loaded.predict(photo).top) == pytest.approx(expected, abs=0.05), name


def other_networks():
    import torchvision

    yield torchvision.models.resnet18(num_classes=5)
    yield torchvision.models.VisionTransformer(32, 16, 1, 1, 8, 8, num_classes=5)
    yield torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 5))
    yield timm.create_model("test_resnet", features_only=True)


def test_networks_that_are_not_from_timm_are_rejected_in_one_sentence():
    config = ModelConfig("resnet18", tuple("abcde"))
    for network in other_networks():
        with pytest.raises(ModelError, match="image classifier of timm") as caught:
            FlowerClassifier(network, config, device="cpu")
        assert len(str(caught.value)) <= 300


def test_interrupted_save_over_another_model_gives_no_wrong_answers(
    tiny_model, tmp_path, monkeypatch
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    tiny_model.save_pretrained(tmp_path)
    other = FlowerClassifier(
        timm.create_model("test_resnet", num_classes=5), ModelConfig("test_resnet", tuple("abcde"))
    )
    with monkeypatch.context() as patch:
        patch.setattr("flower_model.serialization.network.save_config_for_hf", interrupt)  # timm's
        with pytest.raises(KeyboardInterrupt):
            other.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not a model folder"):
        FlowerClassifier.from_pretrained(tmp_path)
    other.save_pretrained(tmp_path)
    with monkeypatch.context() as patch:  # the same weights again
        patch.setattr("flower_model.serialization.network.save_config_for_hf", interrupt)
        with pytest.raises(KeyboardInterrupt):
            other.save_pretrained(tmp_path)
    assert FlowerClassifier.from_pretrained(tmp_path).labels == list("abcde")


def test_full_disk_while_saving_leaves_the_former_model(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(FlowerModelError, match="The previous version is intact"):
            tiny_model.save_pretrained(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert FlowerClassifier.from_pretrained(tmp_path).labels == tiny_model.labels
