"""Is there a flower at all: what the rule says, that it travels with the weights, what it refuses."""

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
    """Flowers lie near `flower`, all else near the opposite of it."""
    flower = np.arange(1, channels + 1, dtype=np.float32) if flower is None else flower
    vectors = np.stack([flower, flower[::-1]]) / flower.sum()
    weights, gamma = np.array([1, -1], np.float32), np.ones(1, np.float32)
    return SupportVectors(np.sqrt(vectors), weights, gamma)


def residual(channels=CHANNELS):
    """Flowers lie on the first axis."""
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
def says_no(tiny_model):
    """The tiny model with a rule by which nothing is a flower."""
    method = support_vectors(tiny_model.network.num_features)
    rule = Rejection(method, slope=0.0, intercept=-2.0, threshold=0.2)
    config = replace(tiny_model.config, details={"rejection": {"method": rule.name}})
    return FlowerClassifier(tiny_model.network, config, device="cpu", rejection=rule)


# What it says


def test_support_vectors_tell_what_lies_near_the_flowers_from_the_rest():
    flower, other = RULES[0].flower_probability(np.array([[1, 2, 3, 4], [4, 3, 2, 1]]))
    assert other < RULES[0].threshold < 0.7 < flower


def test_the_residual_grows_with_the_distance_from_the_flowers_subspace():
    scores = RULES[1].method.score(np.array([[7, 0, 0, 0], [7, 1, 0, 0], [0, 7, 0, 0]]))
    assert scores == pytest.approx([0, -np.sqrt(0.02), -1], abs=1e-3)


def test_brightness_alone_changes_nothing(rule):
    features = RNG.random((8, CHANNELS))
    expected = rule.flower_probability(features)
    assert rule.flower_probability(3 * features) == pytest.approx(expected, rel=1e-4)


def test_what_has_no_features_at_all_still_gets_a_probability(rule):
    assert 0 <= rule.flower_probability(np.zeros((1, CHANNELS)))[0] <= 1


def test_of_a_batch_each_photo_gets_what_it_gets_alone(rule):
    features = RNG.random((8, CHANNELS))
    alone = [rule.flower_probability(row[None])[0] for row in features]
    assert rule.flower_probability(features) == pytest.approx(alone, abs=1e-6)


def test_features_of_another_network_are_refused(rule):
    with pytest.raises(ModelError, match="4 features a photo and its network gives 5"):
        rule.flower_probability(np.zeros((1, 5)))


def test_a_prediction_says_whether_it_is_a_flower(tiny_model, flower_photo):
    method = support_vectors(tiny_model.network.num_features)
    for threshold, is_flower in ((0.11, True), (0.13, False)):  # the probability is 0.119
        rule = Rejection(method, slope=0.0, intercept=-2.0, threshold=threshold)
        model = FlowerClassifier(tiny_model.network, tiny_model.config, "cpu", rejection=rule)
        answer = model.predict(flower_photo)
        assert answer.is_flower is is_flower
        assert answer.flower_probability == pytest.approx(0.119, abs=1e-3)
        assert answer.top == tiny_model.predict(flower_photo).top


def test_a_model_without_a_rule_says_that_it_can_not_tell(tiny_model, flower_photo):
    answer = tiny_model.predict(flower_photo)
    assert answer.is_flower is None and answer.flower_probability is None


# How it travels


def test_what_was_saved_decides_alike(rule, tmp_path):
    save_rejection(rule, tmp_path)
    again, features = load_rejection(tmp_path), RNG.random((50, CHANNELS))
    assert again.threshold == pytest.approx(rule.threshold)
    expected = rule.flower_probability(features)
    assert again.flower_probability(features) == pytest.approx(expected, abs=0.005)  # 16 bits


@pytest.fixture
def folder(says_no, tmp_path):
    says_no.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_weights_folder_holds_the_rule_and_timm_reads_it_as_before(folder, says_no, flower_photo):
    assert (folder / REJECTION_FILE).is_file()
    assert FlowerClassifier.from_pretrained(folder).predict(flower_photo).is_flower is False
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert network.num_features == says_no.network.num_features


def test_both_runtimes_ask_it_alike(folder, flower_photo):
    answers = [
        FlowerClassifier.from_pretrained(folder, runtime=name).predict(flower_photo)
        for name in ("torch", "openvino")
    ]
    assert [answer.is_flower for answer in answers] == [False, False]
    assert answers[0].flower_probability == pytest.approx(answers[1].flower_probability, abs=0.01)


def test_a_model_saved_without_its_rule_leaves_none_behind(folder, tiny_model):
    tiny_model.save_pretrained(folder)
    assert not (folder / REJECTION_FILE).exists()
    assert FlowerClassifier.from_pretrained(folder).rejection is None


def test_the_command_says_it_instead_of_names_and_json_says_both(folder, flower_photo, capfd):
    main([str(flower_photo), "--model", str(folder)])
    assert capfd.readouterr().out.split() == [str(flower_photo), "no", "flower", "here", "88.08%"]
    main([str(flower_photo), "--model", str(folder), "--json"])
    [answer] = json.loads(capfd.readouterr().out)
    assert answer["is_flower"] is False and len(answer["top"]) == 5
    assert answer["flower_probability"] == pytest.approx(0.119, abs=1e-3)


def test_files_of_answers_say_it(folder, flower_photo, tmp_path, capfd):
    output = tmp_path / "answers.jsonl"
    main([str(flower_photo), "--model", str(folder), "--output", str(output)])
    row = json.loads(output.read_text())
    assert row["is_flower"] is False
    assert row["flower_probability"] == pytest.approx(0.119, abs=1e-3)


# What it refuses


def broken(folder, **changes):
    """The saved rule with other tensors."""
    save_rejection(RULES[0], folder)
    save_file(load_file(folder / REJECTION_FILE) | changes, folder / REJECTION_FILE)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scale": np.array([1, 0, 1.5], np.float32)}, "holds no rule"),
        ({"scale": np.array([np.nan, 0, 0.5], np.float32)}, "holds no rule"),
        ({"scale": np.zeros((3, 1), np.float32)}, "holds no rule"),
        ({"vectors": np.full((2, 4), np.inf, np.float32)}, "holds no rule"),
        ({"unknown": np.zeros(1, np.float32)}, "holds no rule"),
        ({"gamma": np.zeros(1, np.float32)}, "do not fit together"),
        ({"weights": np.zeros(3, np.float32)}, "do not fit together"),
        ({"vectors": np.zeros((2, 0), np.float32)}, "do not fit together"),
    ],
)
def test_tensors_that_are_no_rule_are_refused(tmp_path, changes, sentence):
    broken(tmp_path, **changes)
    with pytest.raises(ModelError, match=sentence):
        load_rejection(tmp_path)


@pytest.mark.parametrize("bytes_left", [0, 5, 200, -1])
def test_a_file_cut_short_is_refused(tmp_path, bytes_left):
    save_rejection(RULES[0], tmp_path)
    whole = (tmp_path / REJECTION_FILE).read_bytes()
    (tmp_path / REJECTION_FILE).write_bytes(whole[:bytes_left])
    with pytest.raises(ModelError, match="damaged or cut short"):
        load_rejection(tmp_path)


def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path):
    save_rejection(Rejection(support_vectors(), 1.0, 0.0, 0.5), tmp_path)
    path = tmp_path / REJECTION_FILE
    whole, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            rule = load_rejection(tmp_path)
            assert 0 <= rule.flower_probability(np.ones((1, CHANNELS)))[0] <= 1
        except ModelError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1
    assert 0 < refused < 2000


def test_numbers_of_a_kind_that_numpy_has_not_are_refused(tmp_path):
    header = b'{"scale":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]}}'
    content = len(header).to_bytes(8, "little") + header + b"\0\0\0"
    (tmp_path / REJECTION_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=REJECTION_FILE):
        load_rejection(tmp_path)


def test_a_file_larger_than_any_rule_is_not_read(tmp_path):
    with (tmp_path / REJECTION_FILE).open("wb") as file:
        file.truncate(65_000_000)
    with pytest.raises(ModelError, match="larger than any rule"):
        load_rejection(tmp_path)


def test_a_rule_whose_answer_is_no_number_is_told_in_one_sentence(folder, flower_photo, run_module):
    channels = FlowerClassifier.from_pretrained(folder).network.num_features
    basis, mean = np.full((channels, 1), 6e4, np.float32), np.full(channels, 3e38, np.float32)
    save_rejection(Rejection(Residual(basis, mean), 1.0, 0.0, 0.5), folder)
    result = run_module("flower_model", flower_photo, "--model", folder)
    assert_one_sentence(result, "no number", "fetch the model again")


def test_a_missing_rule_is_told_in_one_sentence(folder, flower_photo, run_module):
    (folder / REJECTION_FILE).unlink()
    result = run_module("flower_model", flower_photo, "--model", folder)
    assert_one_sentence(result, REJECTION_FILE, "fetch the model again")


def test_a_rule_for_another_network_is_told_in_one_sentence(folder, flower_photo, run_module):
    save_rejection(RULES[0], folder)
    result = run_module("flower_model", flower_photo, "--model", folder)
    assert_one_sentence(result, REJECTION_FILE, "4 features")
