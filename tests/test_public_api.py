"""The public API. A change here is a change for users: note it in CHANGELOG.md."""

import inspect
from dataclasses import fields

import pytest

import flower_model
from app import page_parser
from flower_model import FlowerClassifier, FlowerModelError, Prediction
from flower_model.prediction import PredictionDict


def test_package_exports_these_names():
    assert flower_model.__all__ == [
        "DataError",
        "FlowerClassifier",
        "FlowerModelError",
        "HubError",
        "ImageError",
        "ModelError",
        "PlantPrediction",
        "Prediction",
        "RecipeError",
    ]
    for name in flower_model.__all__:
        assert getattr(flower_model, name)


def test_every_error_is_a_flower_model_error():
    errors = [name for name in flower_model.__all__ if name.endswith("Error")]
    assert all(issubclass(getattr(flower_model, name), FlowerModelError) for name in errors)


def test_classifier_has_these_members():
    assert {name for name in vars(FlowerClassifier) if not name.startswith("_")} == {
        "from_pretrained",
        "labels",
        "network",
        "pictures",
        "predict",
        "predict_plant",
        "predict_stream",
        "push_to_hub",
        "save_pretrained",
        "to_pixels",
        "to_predictions",
        "transform",
    }


@pytest.mark.parametrize(
    ("method", "positional", "keyword_only"),
    [
        (
            "from_pretrained",
            ["model"],
            "revision token cache_dir local_files_only runtime device precision",
        ),
        ("predict", ["photos"], "top_k batch_size"),
        ("predict_plant", ["photos"], "top_k"),
        ("predict_stream", ["photos"], "top_k batch_size"),
        ("save_pretrained", ["save_directory"], ""),
        ("push_to_hub", ["repo_id"], "private token revision create_pr commit_message"),
    ],
)
def test_method_takes_these_arguments(method, positional, keyword_only):
    parameters = inspect.signature(getattr(FlowerClassifier, method)).parameters.values()
    named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    assert named == positional
    assert [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] == keyword_only.split()


def test_prediction_has_these_attributes():
    assert [field.name for field in fields(Prediction)] == [
        "top",
        "flower_probability",
        "is_flower",
        "genus",
        "family",
        "botanical_name",
        "known_probability",
        "is_known",
    ]
    assert {name for name in vars(Prediction) if not name.startswith("_")} >= {
        "answer",
        "label",
        "probability",
        "sure_genus",
        "to_dict",
    }


def test_prediction_as_json_has_these_keys():
    prediction = Prediction((("rose", 0.9), ("tulip", 0.1)), flower_probability=0.8, is_flower=True)
    assert list(prediction.to_dict()) == list(PredictionDict.__annotations__)
    assert {"label", "probability", "is_flower", "flower_probability", "top"} <= set(
        PredictionDict.__annotations__
    )


def test_page_has_these_options():
    options = {word for action in page_parser()._actions for word in action.option_strings}
    assert options == {
        "-h",
        "--help",
        "--model",
        "--host",
        "--port",
        "--share",
        "--auth",
        "--root-path",
        "--max-size",
        "--max-queue",
        "--rate",
        "--mcp",
        "--precision",
    }
