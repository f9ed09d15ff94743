"""The shipped model: what the README promises of weights/ holds for the files in it."""

import json
import re

import numpy as np
import pytest
import timm
import torch
from conftest import ROOT
from hub.cards import card_errors
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from flower_model import FlowerClassifier
from flower_model.images import open_image
from flower_model.torch_runtime import TorchRuntime
from training.evaluate import evaluate

WEIGHTS = ROOT / "weights"


@pytest.fixture(scope="module")
def shipped() -> FlowerClassifier:
    return FlowerClassifier.from_pretrained(WEIGHTS)


def test_it_names_103_flowers_with_their_botanical_names(shipped):
    assert len(shipped.labels) == 103
    assert {"tulip", "oxeye daisy", "common dandelion", "rose", "sunflower"} < set(shipped.labels)
    assert set(shipped.config.descriptions) == set(shipped.labels)


def test_it_is_small_with_16_bit_matrices_and_32_bit_batch_norm():
    tensors = load_file(WEIGHTS / "model.safetensors")
    assert tensors["fc.weight"].dtype == torch.float16
    assert tensors["bn1.running_var"].dtype == torch.float32
    assert (WEIGHTS / "model.safetensors").stat().st_size <= 55_000_000


def test_timm_reads_the_same_logits_from_it(shipped, flower_photo):
    network = timm.create_model(f"local-dir:{WEIGHTS}", pretrained=True).eval()
    picture = open_image(flower_photo)
    reference = TorchRuntime(shipped.network, "cpu", "float32")
    logits = reference(shipped.photo_transform.to_pixels(picture)[None]).logits
    with torch.inference_mode():
        expected = network(shipped.transform(picture)[None]).numpy()
    assert np.abs(logits - expected).max() <= 0.02  # a few pixels differ by one level of 255


def test_its_config_leaves_out_the_two_keys_that_transformers_fails_on():
    config = json.loads((WEIGHTS / "config.json").read_text(encoding="utf-8"))
    assert not {"num_classes", "in_chans"} & set(config.get("model_args", {}))


def test_it_calls_the_sample_photo_a_dahlia(shipped, flower_photo):
    assert "dahlia" in shipped.predict(flower_photo).label


def test_its_files_name_no_path_of_the_machine_that_made_it():
    for name in ("config.json", "README.md"):
        assert not re.search(r"(?<![\w.:/])/(home|root|work|tmp)/", (WEIGHTS / name).read_text())


def test_it_names_the_five_flowers_among_all_103(shipped, flower_data):
    result = evaluate(shipped, "flowers5:val", flower_data)
    assert result["photos"] == 383 and result["classes"] == 5
    assert result["top1"] >= 0.92


def test_its_card_says_its_figures_in_the_way_the_hub_reads():
    text = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    data = ModelCard(text).data
    top1 = {r.dataset_name: r.metric_value for r in data.eval_results if "top-1" in r.metric_name}
    assert top1["flowers5:val"] >= 0.92
    assert data.datasets == ["nelorth/oxford-flowers"]
    assert data.co2_eq_emissions["emissions"] > 0
    assert card_errors(text, "model") == []
    for picture in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (WEIGHTS / picture).read_bytes().startswith(b"\x89PNG")
