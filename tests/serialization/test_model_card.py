"""The model card: metadata, text and ownership."""

import io
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from flower_model import FlowerClassifier
from flower_model.config import ModelConfig
from flower_model.serialization.model_card import is_generated, render_model_card

DETAILS = {
    "recipe": {
        "name": "mine",
        "data": {"credits": ["Photos by me, CC0."]},
        "model": {"pretrained": "timm/resnet50.a1_in1k", "license": "apache-2.0"},
        "finetune": {"epochs": 3, "optimizer": "adamw", "image_sizes": [128, 160]},
    },
    "train": {"sources": ["mine:train"], "photos": 80},
    "held_out": {"sources": ["mine:val"], "photos": 20, "used_for": "the temperature"},
    "metrics": dict.fromkeys(["top1", "top5", "mean_per_class", "calibration_error"], 0.5)
    | {"log_loss": 1.25},
    "tests": {
        "meadow:val": {"top1": 0.75, "top5": 1.0, "mean_per_class": 0.7}
        | {"calibration_error": 0.1, "log_loss": 0.9}
    },
}
CALIBRATION = {"photos": 20, "sources": ["mine:val"], "error_before": 0.2, "error": 0.03}
CALIBRATION |= {"error_by_chance": 0.025, "error_by_bad_luck": 0.04}
FITTED = {"calibration": CALIBRATION}


def test_front_matter_has_the_hub_metadata():
    data = ModelCard(render_model_card(ModelConfig("resnet50", ("a", "b"), details=DETAILS))).data
    assert data.library_name == "timm"
    assert data.pipeline_tag == "image-classification"
    assert data.license == "apache-2.0"
    assert data.base_model == "timm/resnet50.a1_in1k"


def test_base_model_has_no_revision():
    recipe = DETAILS["recipe"] | {"model": {"pretrained": "timm/resnet50.a1_in1k@main"}}
    config = ModelConfig("resnet50", ("a", "b"), details=DETAILS | {"recipe": recipe})
    assert ModelCard(render_model_card(config)).data.base_model == "timm/resnet50.a1_in1k"


def test_card_covers_data_recipe_metrics_limitations_licences_and_classes():
    text = render_model_card(
        ModelConfig("resnet50", ("rose", "tulip"), {"rose": "Rosa"}, details=DETAILS)
    )
    for part in ("80 from mine:train", "3 epochs", "50.00 %", "1.250", "CC0", "rose (*Rosa*)"):
        assert part in text
    assert re.findall("^## (.*)", text, re.MULTILINE) == [
        "Usage",
        "Training",
        "Evaluation",
        "Limitations",
        "Data and licences",
        "Classes",
    ]


def test_card_reports_calibration_and_rejection():
    rule = {"flowers": 20, "flowers_kept": 0.95, "others": 40, "others_let_through": 0.1}
    details = DETAILS | {"calibration": CALIBRATION, "rejection": rule | {"auroc": 0.9876}}
    config = ModelConfig("resnet50", ("rose", "tulip"), temperature=0.5, details=details)
    text = render_model_card(config)
    for part in (
        "20.00 % before",
        "3.00 % after",
        "an error of 2.50 %",
        "95.0 %",
        "10.0 %",
        "0.9876",
    ):
        assert part in text
    assert "every photo" not in text


def test_card_without_rejection_rule_says_every_photo_gets_a_label():
    text = render_model_card(ModelConfig("resnet50", ("rose", "tulip"), details=DETAILS))
    assert "assigns one of them to every photo" in text and "is_flower" not in text


@pytest.mark.parametrize(
    ("temperature", "details"),
    [
        (1.0, {}),
        (1.0, {"calibration": CALIBRATION}),
        (1.0, {"calibration": CALIBRATION | {"fitted": False}}),
        (0.5, {}),
        (0.5, {"calibration": CALIBRATION | {"fitted": False}}),
    ],
)
def test_card_claims_calibration_only_with_a_fitted_temperature(temperature, details):
    config = ModelConfig("resnet50", ("a", "b"), temperature=temperature, details=DETAILS | details)
    text = render_model_card(config)
    assert "which calibrates its probabilities" not in text and "temperature scaling" not in text
    assert ("not calibrated" in text) == (temperature == 1)
    fitted = render_model_card(replace(config, temperature=0.5, details=DETAILS | FITTED))
    assert "which calibrates its probabilities" in fitted and "not calibrated" not in fitted


def test_card_lists_classes_with_enough_photos_only():
    result = {"recall": 0.5, "precision": 0.75}
    per_class = {"rose": result | {"photos": 20}, "tulip": result | {"photos": 19}}
    labels = ("rose", "tulip")
    details = DETAILS | {"per_class": per_class}
    text = render_model_card(ModelConfig("resnet50", labels, details=details))
    assert "| rose | 20 | 50 % | 75 % |" in text and "| tulip |" not in text
    assert "fewer than 20 held-out photos are left out" in text


def test_card_explains_what_the_licences_of_the_photos_mean_for_the_weights():
    text = render_model_card(ModelConfig("resnet50", ("a", "b"), details=DETAILS))
    licences = text[text.index("## Data and licences") : text.index("## Classes")]
    assert "- Photos by me, CC0.\n" in licences and "released under apache-2.0" in licences
    assert "does not replace the licences of the photos" in licences


def test_model_without_training_details_gets_a_card():
    text = render_model_card(ModelConfig("resnet50", ("rose", "tulip")))
    assert "Evaluation" not in text and "rose, tulip" in text


def test_model_index_lists_each_source_separately():
    card = ModelCard(
        render_model_card(ModelConfig("resnet50", ("a", "b"), details=DETAILS), "me/mine")
    )
    assert card.data.model_name == "mine"
    top1 = {
        r.dataset_name: r.metric_value for r in card.data.eval_results if r.metric_name[4] == "1"
    }
    assert top1 == {"mine:val": 0.5, "meadow:val": 0.75}


def test_card_embeds_existing_plots_only():
    config = ModelConfig("resnet50", ("a", "b"))
    assert "](reliability.png)" in render_model_card(config, pictures=["reliability.png"])
    assert ".png" not in render_model_card(config)


def test_saving_over_another_model_removes_its_plots(tiny_model, tmp_path):
    drawn = io.BytesIO()
    Image.new("RGB", (8, 8)).save(drawn, "PNG")
    (tmp_path / "reliability.png").write_bytes(drawn.getvalue())
    (tmp_path / "mine.png").write_bytes(drawn.getvalue())
    tiny_model.save_pretrained(tmp_path)
    assert FlowerClassifier.from_pretrained(tmp_path).pictures == {}
    assert [path.name for path in tmp_path.glob("*.png")] == ["mine.png"]


def test_saving_rewrites_a_generated_card_and_keeps_an_edited_one(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    config = replace(tiny_model.config, details=DETAILS)
    FlowerClassifier(tiny_model.network, config).save_pretrained(tmp_path)
    card = tmp_path / "README.md"
    assert "80 from mine" in card.read_text(encoding="utf-8")
    edited = card.read_bytes() + "Größe".encode("latin-1")  # an editor may use another encoding
    card.write_bytes(edited)
    tiny_model.save_pretrained(tmp_path)
    assert card.read_bytes() == edited


@pytest.mark.parametrize("repo_id", ["", "me/mine"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_generated_card_is_recognised(repo_id, line_break):
    card = render_model_card(ModelConfig("resnet50", ("a", "b"), details=DETAILS), repo_id)
    assert is_generated(card.replace("\n", line_break))


@pytest.mark.parametrize(
    "edit",
    [
        lambda card: card + "My own words.\n",
        lambda card: card.replace("license: apache-2.0", "license: mit"),
        lambda card: card.replace("# Flower", "# My flower"),
        lambda card: card[: card.index("<!--")],
        lambda card: "",
    ],
    ids=["added text", "metadata", "heading", "no marker", "empty"],
)
def test_edited_card_is_recognised(edit):
    card = render_model_card(ModelConfig("resnet50", ("a", "b"), details=DETAILS))
    assert not is_generated(edit(card))


def test_folder_named_like_the_card_is_left_alone(tiny_model, tmp_path):
    (tmp_path / "README.md").mkdir()
    tiny_model.save_pretrained(tmp_path)
    assert FlowerClassifier.from_pretrained(tmp_path).labels == tiny_model.labels
    tiny_model.save_pretrained(tmp_path)


def test_unsupported_save_option_raises(tiny_model, tmp_path):
    with pytest.raises(TypeError, match="push_to_hub"):
        tiny_model.save_pretrained(tmp_path, push_to_hub=True)
    assert not list(tmp_path.iterdir())
