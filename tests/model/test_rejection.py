"""The rejection rule: its scores, saving and loading it, and validation of its file."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import timm
from safetensors.numpy import load_file, save_file

from flower_model import FlowerClassifier, ModelError
from flower_model.cli.main import main
from flower_model.rejection import (
    REJECTION_FILE,
    Rejection,
    Residual,
    SupportVectors,
    load_rejection,
    save_rejection,
)
from tests.support.commands import assert_one_sentence

CHANNELS = 4
RNG = np.random.default_rng(0)


def support_vectors(channels=CHANNELS, flower=None):
    """A rule with flowers near `flower` and negatives near its reverse."""
    flower = np.arange(1, channels + 1, dtype=np.float32) if flower is None else flower
    vectors = np.stack([flower, flower[::-1]]) / flower.sum()
    weights, gamma = np.array([1, -1], np.float32), np.ones(1, np.float32)
    return SupportVectors(np.sqrt(vectors), weights, gamma)


def residual(channels=CHANNELS):
    """A rule whose flower subspace is the first axis."""
    basis = np.eye(channels, 1, dtype=np.float32)
    return Residual(basis, np.zeros(channels, np.float32))


RULES = [
    Rejection(support_vectors(), slope=10.0, intercept=-1.0, threshold=0.3),
    Rejection(residual(), slope=10.0, intercept=5.0, threshold=0.5),
]


@pytest.fixture(params=RULES, ids=lambda rule: rule.name)
def rule(request):
    return request.param


@pytest.fixture
def rejecting_model(tiny_model):
    """The tiny model with a rule that rejects every photo."""
    method = support_vectors(tiny_model.network.num_features)
    rule = Rejection(method, slope=0.0, intercept=-2.0, threshold=0.2)
    config = replace(tiny_model.config, details={"rejection": {"method": rule.name}})
    return FlowerClassifier(tiny_model.network, config, device="cpu", rejection=rule)


# Scores and probabilities


def test_support_vectors_separate_flowers_from_negatives():
    flower, negative = RULES[0].flower_probability(np.array([[1, 2, 3, 4], [4, 3, 2, 1]]))
    assert negative < RULES[0].threshold < 0.7 < flower


def test_residual_score_falls_with_distance_from_the_flower_subspace():
    scores = RULES[1].method.score(np.array([[7, 0, 0, 0], [7, 1, 0, 0], [0, 7, 0, 0]]))
    assert scores == pytest.approx([0, -np.sqrt(0.02), -1], abs=1e-3)


def test_scaling_the_features_does_not_change_the_probability(rule):
    features = RNG.random((8, CHANNELS))
    expected = rule.flower_probability(features)
    assert rule.flower_probability(3 * features) == pytest.approx(expected, rel=1e-4)


def test_all_zero_features_still_get_a_probability(rule):
    assert 0 <= rule.flower_probability(np.zeros((1, CHANNELS)))[0] <= 1


def test_batching_does_not_change_the_probability(rule):
    features = RNG.random((8, CHANNELS))
    alone = [rule.flower_probability(row[None])[0] for row in features]
    assert rule.flower_probability(features) == pytest.approx(alone, abs=1e-6)


def test_features_with_another_number_of_channels_are_rejected(rule):
    with pytest.raises(ModelError, match="expects 4 features per photo, but the network returns 5"):
        rule.flower_probability(np.zeros((1, 5)))


def test_prediction_compares_the_flower_probability_with_the_threshold(tiny_model, flower_photo):
    method = support_vectors(tiny_model.network.num_features)
    for threshold, is_flower in ((0.11, True), (0.13, False)):  # the probability is 0.119
        rule = Rejection(method, slope=0.0, intercept=-2.0, threshold=threshold)
        model = FlowerClassifier(tiny_model.network, tiny_model.config, "cpu", rejection=rule)
        answer = model.predict(flower_photo)
        assert answer.is_flower is is_flower
        assert answer.flower_probability == pytest.approx(0.119, abs=1e-3)
        assert answer.top == tiny_model.predict(flower_photo).top


def test_model_without_a_rule_has_no_flower_probability(tiny_model, flower_photo):
    answer = tiny_model.predict(flower_photo)
    assert answer.is_flower is None and answer.flower_probability is None


# Saving and loading


def test_saved_rule_gives_the_same_probabilities(rule, tmp_path):
    save_rejection(rule, tmp_path)
    loaded, features = load_rejection(tmp_path), RNG.random((50, CHANNELS))
    assert loaded.threshold == pytest.approx(rule.threshold)
    expected = rule.flower_probability(features)
    assert loaded.flower_probability(features) == pytest.approx(
        expected, abs=0.005
    )  # stored in 16 bits


@pytest.fixture
def folder(rejecting_model, tmp_path):
    rejecting_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
def test_timm_still_loads_a_weights_folder_with_a_rule(folder, rejecting_model, flower_photo):
    assert (folder / REJECTION_FILE).is_file()
    assert FlowerClassifier.from_pretrained(folder).predict(flower_photo).is_flower is False
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert network.num_features == rejecting_model.network.num_features


def test_both_runtimes_apply_the_rule(folder, flower_photo):
    answers = [
        FlowerClassifier.from_pretrained(folder, runtime=name).predict(flower_photo)
        for name in ("torch", "openvino")
    ]
    assert [answer.is_flower for answer in answers] == [False, False]
    assert answers[0].flower_probability == pytest.approx(answers[1].flower_probability, abs=0.01)


def test_saving_without_a_rule_removes_the_old_rule(folder, tiny_model):
    tiny_model.save_pretrained(folder)
    assert not (folder / REJECTION_FILE).exists()
    assert FlowerClassifier.from_pretrained(folder).rejection is None


def test_command_prints_no_labels_for_a_rejected_photo_but_json_has_both(
    folder, flower_photo, capfd
):
    main([str(flower_photo), "--model", str(folder)])
    assert capfd.readouterr().out.split() == [str(flower_photo), "no", "flower", "88.08%"]
    main([str(flower_photo), "--model", str(folder), "--json"])
    [answer] = json.loads(capfd.readouterr().out)
    assert answer["is_flower"] is False and len(answer["top"]) == 5
    assert answer["flower_probability"] == pytest.approx(0.119, abs=1e-3)


def test_results_file_has_the_flower_probability(folder, flower_photo, tmp_path, capfd):
    output = tmp_path / "answers.jsonl"
    main([str(flower_photo), "--model", str(folder), "--output", str(output)])
    row = json.loads(output.read_text())
    assert row["is_flower"] is False
    assert row["flower_probability"] == pytest.approx(0.119, abs=1e-3)


# Validation of the file


def save_broken(folder, **changes):
    """Save a rule with some tensors replaced."""
    save_rejection(RULES[0], folder)
    save_file(load_file(folder / REJECTION_FILE) | changes, folder / REJECTION_FILE)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scale": np.array([1, 0, 1.5], np.float32)}, "valid rejection rule"),
        ({"scale": np.array([np.nan, 0, 0.5], np.float32)}, "valid rejection rule"),
        ({"scale": np.zeros((3, 1), np.float32)}, "valid rejection rule"),
        ({"vectors": np.full((2, 4), np.inf, np.float32)}, "valid rejection rule"),
        ({"unknown": np.zeros(1, np.float32)}, "valid rejection rule"),
        ({"gamma": np.zeros(1, np.float32)}, "inconsistent"),
        ({"weights": np.zeros(3, np.float32)}, "inconsistent"),
        ({"vectors": np.zeros((2, 0), np.float32)}, "inconsistent"),
    ],
)
def test_invalid_tensors_are_rejected(tmp_path, changes, sentence):
    save_broken(tmp_path, **changes)
    with pytest.raises(ModelError, match=sentence):
        load_rejection(tmp_path)


@pytest.mark.parametrize("bytes_left", [0, 5, 200, -1])
def test_truncated_file_is_rejected(tmp_path, bytes_left):
    save_rejection(RULES[0], tmp_path)
    whole = (tmp_path / REJECTION_FILE).read_bytes()
    (tmp_path / REJECTION_FILE).write_bytes(whole[:bytes_left])
    with pytest.raises(ModelError, match="damaged or truncated"):
        load_rejection(tmp_path)


def test_randomly_damaged_file_loads_or_is_rejected_in_one_sentence(tmp_path):
    save_rejection(Rejection(support_vectors(), 1.0, 0.0, 0.5), tmp_path)
    path = tmp_path / REJECTION_FILE
    whole, rng = path.read_bytes(), random.Random(0)
    rejected = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            rule = load_rejection(tmp_path)
            assert 0 <= rule.flower_probability(np.ones((1, CHANNELS)))[0] <= 1
        except ModelError as error:
            rejected += 1
            assert len(str(error).splitlines()) == 1
    assert 0 < rejected < 2000


def test_dtype_unknown_to_numpy_is_rejected(tmp_path):
    header = b'{"scale":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]}}'
    content = len(header).to_bytes(8, "little") + header + b"\0\0\0"
    (tmp_path / REJECTION_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=REJECTION_FILE):
        load_rejection(tmp_path)


def test_oversized_file_is_rejected(tmp_path):
    with (tmp_path / REJECTION_FILE).open("wb") as file:
        file.truncate(65_000_000)
    with pytest.raises(ModelError, match="too large"):
        load_rejection(tmp_path)


def test_non_finite_flower_probability_is_reported_in_one_sentence(
    folder, flower_photo, run_module
):
    channels = FlowerClassifier.from_pretrained(folder).network.num_features
    basis, mean = np.full((channels, 1), 6e4, np.float32), np.full(channels, 3e38, np.float32)
    save_rejection(Rejection(Residual(basis, mean), 1.0, 0.0, 0.5), folder)
    result = run_module("flower_model", flower_photo, "--model", folder)
    assert_one_sentence(result, "not finite", "ownload the model again")


def test_missing_rule_is_reported_in_one_sentence(folder, flower_photo, run_module):
    (folder / REJECTION_FILE).unlink()
    result = run_module("flower_model", flower_photo, "--model", folder)
    assert_one_sentence(result, REJECTION_FILE, "Download the model again")


def test_rule_of_another_network_is_reported_in_one_sentence(folder, flower_photo, run_module):
    save_rejection(RULES[0], folder)
    result = run_module("flower_model", flower_photo, "--model", folder)
    assert_one_sentence(result, REJECTION_FILE, "4 features")
