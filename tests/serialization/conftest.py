"""Weights folders as timm and other tools write them."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.serialization.timm_folders import INPUTS, LABELS, WEIGHTS


@pytest.fixture
def make_folder(tmp_path):
    """`make_folder("test_resnet", rename=…)` writes a folder as timm and other tools do."""

    def make_folder(architecture="test_resnet", config=None, rename=str, extra=None, **options):
        torch.manual_seed(0)
        network = timm.create_model(architecture, num_classes=5, **options).eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        tensors = {rename(name): t.clone() for name, t in network.state_dict().items()}
        save_file({n: t for n, t in (tensors | (extra or {})).items() if n}, tmp_path / WEIGHTS)
        content = config or {"num_classes": 5, "label_names": LABELS, "pretrained_cfg": INPUTS}
        (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture} | content))
        return tmp_path

    return make_folder
