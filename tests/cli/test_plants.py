"""flower-model photos/ --group-by folder: one answer for each folder."""

import json
import shutil

import pytest
from PIL import Image, ImageOps

from flower_model.cli.main import main
from flower_model.cli.plants import describe_photos
from flower_model.plant import PlantPrediction
from flower_model.prediction import Prediction
from tests.support.commands import assert_one_sentence


@pytest.fixture
def garden(tmp_path, flower_photo):
    """Two plants, one of them with a copy, a file that can't be opened and a folder inside."""
    for name in ("a/1.jpg", "a/4.jpg", "a/inner/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(flower_photo, tmp_path / name)
    (tmp_path / "a" / "2.jpg").write_bytes(b"broken")
    with Image.open(flower_photo) as photo:
        ImageOps.mirror(photo).save(tmp_path / "a" / "3.jpg")
    return tmp_path


def test_each_folder_gets_one_answer(garden, tiny_folder, tiny_model, capsys):
    code = main([str(garden), "--model", str(tiny_folder), "--group-by", "folder", "--top-k", "1"])
    printed = capsys.readouterr()
    label = tiny_model.predict(garden / "a" / "1.jpg").label
    first, *_, last = printed.out.splitlines()
    assert first == str(garden / "a") and last == "  from 1 photo"
    assert "  from 2 photos" in printed.out and printed.out.count(f"  {label} ") == 2
    assert code == 2 and "2.jpg" in printed.err


def test_json_has_the_folder_its_files_and_the_answers_to_them(garden, tiny_folder, capsys):
    main([str(garden), "--model", str(tiny_folder), "--group-by", "folder", "--json"])
    error, plant, inner = json.loads(capsys.readouterr().out)
    assert error["photo"] == str(garden / "a" / "2.jpg")
    assert plant["folder"] == str(garden / "a") and plant["files"] == ["1.jpg", "3.jpg", "4.jpg"]
    assert len(plant["photos"]) == 3 and plant["copies"] == [2] and inner["files"] == ["1.jpg"]


def test_output_is_refused(run_module, tmp_path):
    words = (tmp_path, "--group-by", "folder", "--output", tmp_path / "a.csv")
    assert_one_sentence(run_module("flower_model", *words), "can't be combined with --output")


def test_photos_that_disagree_or_show_no_flower_are_named():
    rose, tulip = Prediction((("rose", 0.9),)), Prediction((("tulip", 0.8),))
    sky = Prediction((("rose", 0.9),), flower_probability=0.1, is_flower=False)
    plant = PlantPrediction(rose.top, photos=(rose, tulip, sky), disagreeing=(1,), left_out=(2,))
    assert describe_photos(plant, ["a.jpg", "b.jpg", "c.jpg"]) == (
        "from 3 photos; b.jpg disagrees: tulip; c.jpg: no flower"
    )
    plant = PlantPrediction(rose.top, photos=(sky, rose, tulip), disagreeing=(2,), left_out=(0,))
    assert describe_photos(plant, ["a.jpg", "b.jpg", "c.jpg"]) == (
        "from 3 photos; a.jpg: no flower; c.jpg disagrees: tulip"
    )
