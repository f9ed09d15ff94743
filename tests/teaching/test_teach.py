"""A model that is taught a class: it names it, keeps the others, and can be saved and taught again."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import timm
from safetensors.numpy import load_file, save_file

from flower_model import FlowerClassifier, ImageError, ModelError
from flower_model.serialization.references import References, load_references, save_references
from flower_model.system.files import file_digest
from flower_model.teaching.head import read_head, write_head
from flower_model.teaching.teach import Teachable
from tests.support.commands import ROOT
from tests.support.teaching import KNOWN, NEW, disc_photos, features_of, make_teachable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_teachable(tmp_path_factory.mktemp("model") / "discs")


@pytest.fixture(scope="module")
def taught(folder):
    return Teachable.load(FlowerClassifier.from_pretrained(folder)).teach(NEW, disc_photos(NEW, 5))


@pytest.fixture(scope="module")
def saved(taught, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "mine"
    taught.save(folder)
    return folder


def labels_of(model, label):
    return [answer.label for answer in model.predict(disc_photos(label, 10, offset=500))]


def test_taught_class_is_named_on_other_photos(taught):
    assert labels_of(taught.model, NEW).count(NEW) >= 9


@pytest.mark.parametrize("label", KNOWN)
def test_known_classes_are_still_named(taught, label):
    assert labels_of(taught.model, label).count(label) >= 9


def test_lesson_counts_photos_left_out_in_turn_and_lost_references(taught):
    (lesson,) = taught.lessons
    assert (lesson.photos, len(lesson.answers), lesson.references) == (5, 5, 40)
    assert lesson.correct == 5 and lesson.confused_with == {}
    assert lesson.correct_before == 40 and sum(lesson.lost.values()) <= 1


def test_a_class_that_looks_like_a_known_one_is_reported(folder):
    model = FlowerClassifier.from_pretrained(folder)
    twin = Teachable.load(model).teach("crimson disc", disc_photos("red disc", 6, offset=300))
    lesson = twin.lessons[-1]
    assert set(lesson.confused_with) | set(lesson.lost) == {"red disc"}


def test_one_photo_is_enough_but_can_not_be_left_out(folder):
    model = FlowerClassifier.from_pretrained(folder)
    taught = Teachable.load(model).teach(NEW, disc_photos(NEW, 1))
    assert taught.lessons[0].answers == () and labels_of(taught.model, NEW).count(NEW) >= 7
    assert taught.lessons[0].lost == {}  # one of the 40 references would be 2.5 %


def test_copies_of_a_photo_count_once(folder):
    model = FlowerClassifier.from_pretrained(folder)
    photos = disc_photos(NEW, 3)
    assert Teachable.load(model).teach(NEW, [*photos, *photos]).lessons[0].photos == 3


def test_several_classes_are_taught_in_turn(taught):
    green = [photo[..., [0, 2, 1]] for photo in disc_photos(NEW, 4)]
    twice = taught.teach("green disc", green)
    assert twice.model.labels == [*KNOWN, NEW, "green disc"]
    assert twice.model.predict(green[0]).label == "green disc"
    assert labels_of(twice.model, NEW).count(NEW) >= 8
    assert twice.lessons[1].references == 45


def test_teaching_leaves_the_model_as_it_was(folder):
    model = FlowerClassifier.from_pretrained(folder)
    before = model.predict(disc_photos(NEW, 3))
    Teachable.load(model).teach(NEW, disc_photos(NEW, 3))
    assert model.predict(disc_photos(NEW, 3)) == before and model.labels == list(KNOWN)


def test_saved_model_gives_the_same_answers(taught, saved):
    photos = disc_photos(NEW, 3, offset=500)
    for runtime in ("torch", "openvino"):
        loaded = FlowerClassifier.from_pretrained(saved, runtime=runtime, precision="fp32")
        for found, expected in zip(
            loaded.predict(photos), taught.model.predict(photos), strict=True
        ):
            assert found.label == expected.label
            assert found.probability == pytest.approx(expected.probability, abs=0.02)


def test_saved_model_can_be_taught_another_class(saved):
    references = load_references(saved, file_digest(saved / "model.safetensors"), 3)
    assert (references.targets == 2).sum() == 5
    more = Teachable.load(FlowerClassifier.from_pretrained(saved)).teach(
        "noise", [np.random.default_rng(i).integers(0, 255, (64, 72, 3), "u1") for i in range(3)]
    )
    assert [entry["label"] for entry in more.model.config.details["taught"]] == [NEW, "noise"]


def test_timm_loads_the_saved_model(saved):
    network = timm.create_model(f"local-dir:{saved}", pretrained=True)
    assert network.num_classes == 3 and network.pretrained_cfg["label_names"] == [*KNOWN, NEW]


def test_card_of_the_saved_model_names_the_taught_class(saved):
    card = (saved / "README.md").read_text()
    assert "3 classes" in card and f"- {NEW}: 5 photos" in card


@pytest.mark.parametrize("label", ["", "  ", "two\nlines", "x" * 201, "\x1b[31m", "Red Disc"])
def test_invalid_and_taken_names_are_refused(folder, label):
    teachable = Teachable.load(FlowerClassifier.from_pretrained(folder))
    with pytest.raises(ModelError, match="printable|already knows"):
        teachable.teach(label, disc_photos(NEW, 3))


@pytest.mark.parametrize("label", ["no flower", " No  Flower", "UNKNOWN\u00a0FLOWER "])
def test_answers_that_are_no_names_can_not_be_taught(folder, label):
    teachable = Teachable.load(FlowerClassifier.from_pretrained(folder))
    with pytest.raises(ModelError, match="nothing that the model knows|printable"):
        teachable.teach(label, disc_photos(NEW, 3))


def test_a_class_without_photos_is_refused(folder):
    with pytest.raises(ModelError, match="no photos"):
        Teachable.load(FlowerClassifier.from_pretrained(folder)).teach(NEW, [])


def test_an_unreadable_photo_is_refused(folder):
    with pytest.raises(ImageError):
        Teachable.load(FlowerClassifier.from_pretrained(folder)).teach(NEW, [b"text"])


def test_a_model_that_was_not_loaded_from_a_folder_is_refused(tiny_model):
    with pytest.raises(ModelError, match="loaded from a weights folder"):
        Teachable.load(tiny_model)


def test_references_with_other_features_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "references.safetensors"
    tensors = load_file(path)
    metadata = {"weights_sha256": file_digest(copy / "model.safetensors")}
    save_file(tensors | {"features": tensors["features"][:, :7].copy()}, path, metadata)
    with pytest.raises(ModelError, match="have 7 features"):
        Teachable.load(FlowerClassifier.from_pretrained(copy))


def test_a_network_without_a_linear_head_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    model = FlowerClassifier.from_pretrained(copy)
    content = json.loads((copy / "config.json").read_text())
    content["pretrained_cfg"]["classifier"] = "elsewhere"
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="no linear layer as its head"):
        Teachable.load(model)


def test_a_network_with_layers_between_features_and_head_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    model = FlowerClassifier.from_pretrained(copy)
    teachable = Teachable.load(model)
    doubled = replace(teachable.base_head, weight=2 * teachable.base_head.weight)
    with pytest.raises(ModelError, match="more than a linear layer"):
        replace(teachable, base_head=doubled).teach(NEW, disc_photos(NEW, 3))


@pytest.mark.slow
def test_teaching_and_saving_do_not_import_torch(folder, tmp_path):
    FlowerClassifier.from_pretrained(folder)  # compiles it into the cache
    program = """
import sys
from pathlib import Path
from flower_model import FlowerClassifier
from flower_model.teaching.head import read_head, write_head
from flower_model.teaching.teach import Teachable
from tests.support.drawn import draw_photo
taught = Teachable.load(FlowerClassifier.from_pretrained(sys.argv[1]))
taught = taught.teach("blue disc", [draw_photo("royalblue", seed) for seed in range(3)])
taught.save(Path(sys.argv[2]))
print(taught.model.predict(draw_photo("royalblue", 9)).label, "torch" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, folder, tmp_path / "mine"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == ["blue", "disc", "False"], result.stderr


def test_a_taught_model_is_still_quantized(quantized_folder, tmp_path):
    shutil.copytree(quantized_folder, tmp_path / "base")
    photos = disc_photos(NEW, 3)
    base = FlowerClassifier.from_pretrained(tmp_path / "base", precision="int8")
    features = features_of(base, disc_photos("red disc", 5)).astype(np.float16)
    digest = file_digest(tmp_path / "base" / "model.safetensors")
    save_references(References(features, np.arange(5)), tmp_path / "base", digest)
    (tmp_path / "mine").mkdir()
    taught = Teachable.load(base).teach(NEW, photos)
    taught.save(tmp_path / "mine")
    mine = FlowerClassifier.from_pretrained(tmp_path / "mine", precision="int8")
    assert mine.runtime.compute.precision == "int8"
    expected = [answer.probability for answer in taught.model.predict(photos)]
    assert [answer.probability for answer in mine.predict(photos)] == pytest.approx(
        expected, abs=1e-2
    )


def test_many_photos_of_a_class_leave_room_for_others(folder, tmp_path):
    model = FlowerClassifier.from_pretrained(folder)
    (tmp_path / "mine").mkdir()
    Teachable.load(model).teach(NEW, disc_photos(NEW, 30)).save(tmp_path / "mine")
    references = Teachable.load(FlowerClassifier.from_pretrained(tmp_path / "mine")).base_references
    assert np.bincount(references.targets).tolist() == [20, 20, 10]


def test_weights_beyond_the_range_of_16_bits_are_stored_in_32(folder, tmp_path):
    head = read_head(folder, len(KNOWN))
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    write_head(folder, replace(head, weight=1e6 * head.weight), tmp_path)
    assert np.array_equal(read_head(tmp_path, len(KNOWN)).weight, 1e6 * head.weight)
