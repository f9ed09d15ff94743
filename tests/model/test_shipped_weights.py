"""Promises of the README about the shipped model in weights/."""

import json
import re
import time

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from sklearn.datasets import load_sample_image

from flower_model import FlowerClassifier
from flower_model.photos.decode import open_image
from flower_model.runtimes.base import Compute
from flower_model.runtimes.pytorch import TorchRuntime
from tests.support.commands import ROOT
from tests.support.hub.cards import card_errors
from training.calibration.synthetic import drawn_pictures
from training.reporting.evaluation import evaluate

WEIGHTS = ROOT / "weights"


@pytest.fixture(scope="module")
def shipped() -> FlowerClassifier:
    return FlowerClassifier.from_pretrained(WEIGHTS)


def test_it_has_103_labels_with_botanical_names(shipped):
    assert len(shipped.labels) == 103
    assert {"tulip", "oxeye daisy", "dandelion", "rose", "sunflower"} < set(shipped.labels)
    assert set(shipped.config.descriptions) == set(shipped.labels)


def test_it_stores_16_bit_matrices_and_32_bit_batch_norm():
    tensors = load_file(WEIGHTS / "model.safetensors")
    assert tensors["fc.weight"].dtype == torch.float16
    assert tensors["bn1.running_var"].dtype == torch.float32
    assert (WEIGHTS / "model.safetensors").stat().st_size <= 55_000_000


def test_timm_computes_the_same_logits(shipped, flower_photo):
    network = timm.create_model(f"local-dir:{WEIGHTS}", pretrained=True).eval()
    picture = open_image(flower_photo)
    reference = TorchRuntime(shipped.network, Compute("cpu", "fp32"))
    logits = reference(shipped.photo_transform.to_pixels(picture)[None]).logits
    with torch.inference_mode():
        expected = network(shipped.transform(picture)[None]).numpy()
    assert np.abs(logits - expected).max() <= 0.02  # a few pixels differ by 1 of 255


def test_its_config_omits_keys_that_transformers_fails_on():
    config = json.loads((WEIGHTS / "config.json").read_text(encoding="utf-8"))
    assert not {"num_classes", "in_chans"} & set(config.get("model_args", {}))


def test_it_labels_the_sample_photo_as_a_dahlia(shipped, flower_photo):
    assert "dahlia" in shipped.predict(flower_photo).label


def test_it_is_not_confident_about_a_photo_without_a_flower(shipped):
    assert shipped.predict(load_sample_image("china.jpg")).probability < 0.25


def test_it_names_genus_and_family_and_knows_the_data_set_names(shipped, flower_photo):
    answer = shipped.predict(flower_photo)
    assert answer.genus[0] == "Dahlia" and answer.genus[1] >= answer.probability
    assert answer.family[0] == "Asteraceae" and answer.family[1] >= answer.genus[1]
    assert shipped.config.aliases["watercress"] == "nasturtium"
    assert set(shipped.config.taxonomy) == set(shipped.labels)


def test_it_rejects_a_temple_and_accepts_a_dahlia(shipped, flower_photo):
    temple = shipped.predict(load_sample_image("china.jpg"))
    assert temple.is_flower is False and temple.flower_probability < 0.5
    dahlia = shipped.predict(flower_photo)
    assert dahlia.is_flower is True and dahlia.flower_probability > 0.5


def test_it_rejects_drawn_pictures(shipped):
    answers = shipped.predict(drawn_pictures(8, seed=99))  # not those the rule was fitted on
    assert sum(answer.is_flower for answer in answers) <= 1


def test_both_runtimes_agree_about_flowers(shipped, flower_photo):
    torch_model = FlowerClassifier.from_pretrained(WEIGHTS, runtime="torch")
    photos = [open_image(flower_photo), load_sample_image("china.jpg")]
    for ours, theirs in zip(shipped.predict(photos), torch_model.predict(photos), strict=True):
        assert ours.is_flower is theirs.is_flower
        assert ours.flower_probability == pytest.approx(theirs.flower_probability, abs=0.05)


def test_rejection_rule_takes_at_most_a_fifth_of_a_millisecond_per_photo(shipped):
    features = np.abs(np.random.default_rng(0).normal(size=(64, 2048))).astype(np.float32)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        shipped.rejection.flower_probability(features)
        times.append(time.perf_counter() - start)
    assert min(times) / len(features) <= 0.2e-3


def test_its_card_reports_the_rejection_rates(shipped):
    rule, calibration = (shipped.config.details[name] for name in ("rejection", "calibration"))
    assert rule["flowers_kept"] >= 0.97 and rule["others_let_through"] <= 0.07
    assert rule["auroc"] >= 0.99
    assert calibration["fitted"] and calibration["error"] <= 0.04
    assert shipped.rejection.threshold == pytest.approx(rule["threshold"], abs=1e-4)
    assert "non-flower photos" in (WEIGHTS / "README.md").read_text(encoding="utf-8")


def test_its_files_contain_no_local_paths():
    for name in ("config.json", "README.md"):
        assert not re.search(r"(?<![\w.:/])/(home|root|work|tmp)/", (WEIGHTS / name).read_text())


def test_it_classifies_the_five_class_photos_among_all_103_labels(shipped, flower_data):
    result = evaluate(shipped, "flowers5:val", flower_data)
    assert result["photos"] == 383 and result["classes"] == 5
    assert result["top1"] >= 0.91


def test_its_card_has_metrics_in_the_hub_format():
    text = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    data = ModelCard(text).data
    top1 = {r.dataset_name: r.metric_value for r in data.eval_results if "top-1" in r.metric_name}
    assert top1["flowers5:val"] >= 0.91
    assert data.datasets == ["nelorth/oxford-flowers"]
    assert data.co2_eq_emissions["emissions"] > 0
    assert card_errors(text, "model") == []
    for picture in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (WEIGHTS / picture).read_bytes().startswith(b"\x89PNG")
