"""Runtimes agree with the reference, PyTorch in fp32 on the CPU."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.models import register_model
from torch import nn

from flower_model import FlowerClassifier, FlowerModelError, ModelError
from flower_model.config import ModelConfig, read_config
from flower_model.photos.decode import open_image
from flower_model.runtimes.base import Compute, Outputs, Precision
from flower_model.runtimes.openvino import OpenVINORuntime
from flower_model.runtimes.openvino_loading import load_openvino
from flower_model.runtimes.pytorch import TorchRuntime
from flower_model.runtimes.selection import resolve_runtime
from flower_model.serialization.digest import folder_digest
from flower_model.system.cores import cpu_quota, usable_cores
from tests.support.commands import ROOT
from training.data.sources import source_photos
from training.recipe import Data


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def reference(tiny_model, pixels) -> Outputs:
    return TorchRuntime(tiny_model.network, Compute("cpu", "fp32"))(pixels)


@pytest.fixture(scope="module")
def openvino(tiny_folder) -> OpenVINORuntime:
    return load_folder(tiny_folder, "fp32")


def load_folder(folder: Path, precision: Precision) -> OpenVINORuntime:
    config = read_config(folder / "config.json")
    return load_openvino(folder, config, folder_digest(folder), precision)


def untrained_folder(architecture: str, folder):
    """Save an untrained network with five labels as a weights folder."""
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=5)
    config = ModelConfig(architecture, tuple("abcde"))
    FlowerClassifier(network, config, device="cpu").save_pretrained(folder)
    return folder


def timm_logits(network, pixels):
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        return network((batch - mean) / std).numpy()


# Outputs


def test_torch_logits_equal_those_of_timm(tiny_model, pixels, reference):
    expected = timm_logits(tiny_model.network, pixels)
    assert np.abs(reference.logits - expected).max() <= 1e-5


def test_openvino_in_fp32_matches_the_reference(openvino, pixels, reference):
    for found, expected in zip(openvino(pixels), reference, strict=True):
        assert found.dtype == expected.dtype == np.float32
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_bf16_is_close_to_the_reference(name, tiny_folder, tiny_model, pixels, reference):
    if name == "torch":
        outputs = TorchRuntime(tiny_model.network, Compute("cpu", "bf16"))(pixels)
    else:
        outputs = load_folder(tiny_folder, "bf16")(pixels)
    for found, expected in zip(outputs, reference, strict=True):
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= 5e-2 * np.abs(expected).max()


def test_mean_of_the_activation_map_plus_bias_is_the_logit(openvino, tiny_model, pixels, reference):
    bias = tiny_model.network.get_classifier().bias.detach().numpy()
    for outputs in (reference, openvino(pixels)):
        assert outputs.maps.shape[:2] == outputs.logits.shape
        assert outputs.maps.mean(axis=(2, 3)) + bias == pytest.approx(outputs.logits, abs=1e-3)


def test_network_without_global_average_pooling_has_no_maps(tmp_path, pixels):
    folder = untrained_folder("test_vit", tmp_path)
    model = FlowerClassifier.from_pretrained(folder, runtime="openvino")
    outputs = model.runtime(pixels)
    expected = TorchRuntime(model.network, Compute("cpu", "fp32"))(pixels)
    assert outputs.maps is None and expected.maps is None
    assert np.abs(outputs.logits - expected.logits).max() <= 5e-2 * np.abs(expected.logits).max()


# A convolutional head; two heads; auxiliary logits for each position.
@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["resnetv2_18", "deit_tiny_distilled_patch16_224", "volo_d1_224"]
)
def test_network_with_an_unusual_head_matches_timm(architecture):
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=5).eval()
    noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    expected = timm_logits(network, noise)
    outputs = TorchRuntime(network, Compute("cpu", "fp32"))(noise)
    assert np.abs(outputs.logits - expected).max() <= 1e-4 * np.abs(expected).max()
    assert outputs.features.ndim == 2 and outputs.maps is None


def test_batching_does_not_change_the_logits(openvino, pixels):
    alone = np.concatenate([openvino(photo[None]).logits for photo in pixels])
    assert alone == pytest.approx(openvino(pixels).logits, abs=1e-4)


def test_concurrent_calls_return_their_own_outputs(openvino, pixels):
    expected = openvino(pixels).logits
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: openvino(pixels[i % 3 : i % 3 + 1]).logits, range(48)))
    for i, logits in enumerate(found):
        assert logits[0] == pytest.approx(expected[i % 3], abs=1e-4)


def test_openvino_in_its_default_precision_agrees_with_fp32_on_real_photos(flower_data):
    data = Data(train=("flowers5:val",), val=("flowers5:val",))
    photos = source_photos("flowers5:val", flower_data, data)[::6]
    pictures = [open_image(photo.path) for photo in photos]
    model = FlowerClassifier.from_pretrained(ROOT / "weights", runtime="openvino", device="cpu")
    answers = [model.labels.index(answer.label) for answer in model.predict(pictures)]
    # fp32 takes half the time in this memory format, eight photos at a time.
    network = model.network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        batches = torch.stack([model.transform(picture) for picture in pictures]).split(8)
        expected = torch.cat([network(batch) for batch in batches]).argmax(dim=1)
    assert len(photos) >= 63
    assert np.mean(answers == expected.numpy()) >= 0.98  # int8, bf16 or fp32


# Selection


def test_cpu_uses_openvino_unless_torch_is_requested(tiny_folder):
    def runtime_of(**options):
        return FlowerClassifier.from_pretrained(tiny_folder, **options).runtime

    assert isinstance(runtime_of(device="cpu"), OpenVINORuntime)
    assert isinstance(runtime_of(runtime="torch", device="cpu"), TorchRuntime)
    assert resolve_runtime("auto", "cuda") == resolve_runtime("auto", "mps") == "torch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "onnx"}, "Unknown runtime 'onnx'"),
        ({"runtime": "openvino", "device": "cuda:0"}, "not 'cuda:0'"),
        ({"device": "toaster"}, "no device 'toaster'"),
        ({"precision": "fp16"}, "Unknown precision 'fp16'"),
    ],
)
def test_unavailable_runtime_or_device_is_rejected_in_one_sentence(tiny_folder, options, message):
    with pytest.raises(FlowerModelError, match=message) as caught:
        FlowerClassifier.from_pretrained(tiny_folder, **options)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_runtime_states_its_device_and_precision(tiny_folder, runtime):
    for precision in ("bf16", "fp32"):
        model = FlowerClassifier.from_pretrained(
            tiny_folder, runtime=runtime, device="cpu", precision=precision
        )
        assert model.runtime.compute == Compute("cpu", precision)
        assert model.runtime.name.endswith(f"on cpu, {precision}")
    model = FlowerClassifier.from_pretrained(tiny_folder, runtime=runtime, device="cpu")
    assert model.runtime.compute.precision != "auto"


def test_network_that_openvino_cannot_convert_runs_on_torch(tmp_path, flower_photo):
    folder = untrained_folder("test_odd", tmp_path)
    model = FlowerClassifier.from_pretrained(folder, device="cpu")
    assert isinstance(model.runtime, TorchRuntime)
    assert model.predict(flower_photo).probability > 0
    with pytest.raises(ModelError, match="OpenVINO can't run this network"):
        FlowerClassifier.from_pretrained(folder, runtime="openvino")


@register_model
def test_odd(pretrained=False, num_classes=5, pretrained_cfg=None, **_):
    """A network with an operation that OpenVINO does not support."""
    del pretrained
    network = OddNetwork(num_classes)
    network.pretrained_cfg = pretrained_cfg or {
        "input_size": (3, 32, 32),
        "architecture": "test_odd",
    }
    return network


test_odd.__test__ = False  # keeps pytest from collecting it


class OddNetwork(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.num_classes, self.num_features = num_classes, 3
        self.head = nn.Linear(3, num_classes)

    def forward_features(self, batch):
        return torch.special.bessel_j0(batch)

    def forward_head(self, maps, pre_logits=False):
        features = maps.mean(dim=(2, 3))
        return features if pre_logits else self.head(features)

    def get_classifier(self):
        return self.head


# Cores


def test_cpu_quota_reads_cgroup_v2(tmp_path):
    assert cpu_quota(tmp_path) == float("inf")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(tmp_path) == float("inf")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cpu_quota(tmp_path) == 1.5


def test_cpu_quota_reads_cgroup_v1(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_quota(tmp_path) == float("inf")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("200000\n")
    assert cpu_quota(tmp_path) == 2


@pytest.mark.parametrize(("quota", "cores"), [(20_000, 1), (150_000, 2)])
def test_part_of_a_core_counts_as_one(monkeypatch, tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
    monkeypatch.setattr(cpu_quota, "__defaults__", (tmp_path,))
    assert usable_cores() == min(cores, len(os.sched_getaffinity(0)))


@pytest.mark.slow
def test_signal_after_models_are_destroyed_does_not_crash_the_process(tiny_folder):
    code = """if True:
        import gc, os, signal, sys
        from flower_model import FlowerClassifier

        first, second = (
            FlowerClassifier.from_pretrained(sys.argv[1], runtime="openvino") for _ in range(2)
        )
        del first
        gc.collect()
        del second
        gc.collect()
        signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
        os.kill(os.getpid(), signal.SIGUSR1)"""
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
