"""python -m flower_model: tables or JSON, and errors in one sentence."""

import http.server
import json
import shutil
import subprocess
import threading

import pytest
from safetensors.torch import load_file, save_file

from flower_model.cli.common import WEIGHTS
from flower_model.cli.main import main, table
from flower_model.prediction import Prediction
from tests.conftest import BOTANICAL
from tests.support.commands import assert_one_sentence, run


@pytest.fixture
def tiny_copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Most tests run the command in this process, which is faster.


@pytest.fixture
def run_here(capfd, flower_photo):
    """Runs the command on `flower_photo` and returns its output and exit code."""

    def run(model, *words):
        code = main([str(flower_photo), "--model", str(model), *words])
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess([], code, out, err)

    return run


# Output


def test_top_five_of_each_photo_are_printed_as_a_table(run_module, tiny_folder, flower_photo):
    result = run_module("flower_model", flower_photo, flower_photo, "--model", tiny_folder)
    assert result.returncode == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * 6 and lines[:6] == lines[6:]
    assert lines[0] == str(flower_photo)
    assert {line.split()[0] for line in lines[1:6]} == set(BOTANICAL)
    assert len({line.index("%") for line in lines[1:6]}) == 1  # aligned
    chances = [float(line.split()[1].rstrip("%")) for line in lines[1:6]]
    assert chances == sorted(chances, reverse=True) and sum(chances) == pytest.approx(100, abs=0.1)


def test_json_output_equals_the_models_predictions(run_here, tiny_folder, tiny_model, flower_photo):
    [answer] = json.loads(run_here(tiny_folder, "--top-k", "2", "--json").stdout)
    expected = tiny_model.predict(flower_photo, top_k=2)
    assert answer["photo"] == str(flower_photo)
    assert [entry["label"] for entry in answer["top"]] == [name for name, _ in expected.top]
    assert answer["top"][0]["probability"] == pytest.approx(expected.probability, abs=0.02)


def test_top_k_is_limited_to_the_number_of_labels(run_here, tiny_folder):
    [answer] = json.loads(run_here(tiny_folder, "--top-k", "99", "--json").stdout)
    assert len(answer["top"]) == len(BOTANICAL)


def test_unreadable_photo_does_not_stop_the_others(run_module, tiny_folder, flower_photo, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not a photo")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(flower_photo.read_bytes()[:20_000])
    bad = (text, empty, cut, tmp_path / "nowhere.jpg")
    result = run_module("flower_model", *bad, flower_photo, "--model", tiny_folder, "--json")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == len(bad) and "Traceback" not in result.stderr
    *refused, answered = json.loads(result.stdout)
    assert [entry["photo"] for entry in refused] == [str(path) for path in bad]
    assert [entry["error"] for entry in refused] == result.stderr.splitlines()
    assert answered["photo"] == str(flower_photo) and len(answered["top"]) == 5


def test_file_name_that_is_not_utf8_is_accepted(run_module, tiny_folder, flower_photo, tmp_path):
    odd = tmp_path / "blume\udcff.jpg"
    shutil.copy(flower_photo, odd)
    result = run_module("flower_model", odd, "--model", tiny_folder)
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 6, result.stderr


def test_folder_is_replaced_by_its_photos(run_module, tiny_folder, flower_photo, tmp_path):
    inner = tmp_path / "b.album"
    inner.mkdir()
    for name in ("c.jpg", "b.album/z.JPEG", "b.album/a", "d.jpg.1", ".hidden.jpg"):
        shutil.copy(flower_photo, tmp_path / name)
    (inner / "notes.txt").write_text("notes")
    result = run_module("flower_model", flower_photo, tmp_path, "--model", tiny_folder, "--json")
    answers = json.loads(result.stdout)
    expected = [tmp_path / name for name in ("b.album/a", "b.album/z.JPEG", "c.jpg", "d.jpg.1")]
    assert [answer["photo"] for answer in answers] == list(map(str, [flower_photo, *expected]))
    assert all(answer["top"] == answers[0]["top"] for answer in answers)
    assert result.stderr == "Skipped in folders: hidden (1), not a photo (1).\n"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "shift_jis", "utf-16"])
@pytest.mark.parametrize("words", [(), ("--json",), ("--help",)], ids=["table", "json", "help"])
def test_output_in_any_encoding(tiny_folder, flower_photo, tmp_path, encoding, words):
    photo = tmp_path / "Blüte 花 \udcff.jpg"
    shutil.copy(flower_photo, photo)
    (tmp_path / "क.jpg").write_text("not a photo")
    result = run(
        *("-m", "flower_model", tmp_path, "--model", tiny_folder, *words),
        env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"},
        encoding=encoding,
    )
    assert "Traceback" not in result.stderr
    if words == ("--help",):
        assert result.returncode == 0 and "usage" in result.stdout
    else:
        assert result.returncode == 2 and "not a supported image" in result.stderr
        assert ".jpg" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["-m", "training.train", "--help"], 0, "5 all but the head"),  # after an ellipsis
        (["-m", "training.calibrate", "模型/花"], 2, "\\u6a21\\u578b/\\u82b1"),
        (["app.py", "--help"], 0, "(default: \\u82b1)"),
    ],
    ids=["training help", "refusal", "page help"],
)
def test_arguments_are_parsed_safely_on_an_ascii_terminal(words, code, expected):
    environment = {"PYTHONIOENCODING": "ascii", "GRADIO_SERVER_NAME": "花"}
    result = run(*words, env=environment)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert expected in " ".join((result.stdout + result.stderr).split())


def test_shipped_model_is_the_default(run_module, flower_photo):
    if not (WEIGHTS / "model.safetensors").exists():
        pytest.skip("weights/ holds no model.safetensors")
    [answer] = json.loads(run_module("flower_model", flower_photo, "--json").stdout)
    assert answer["top"][0]["probability"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["flower_model.cli.main", "training.train", "app"])
def test_help_imports_no_heavy_library(command):
    slow = "{'numpy', 'PIL', 'torch', 'gradio'}"
    result = run("-c", f"import sys, {command}; print({slow} & sys.modules.keys())", env={})
    assert result.stdout == "set()\n", result.stderr


# Errors


def test_top_k_below_one_is_rejected(run_here, tiny_folder):
    result = run_here(tiny_folder, "--top-k", "0")
    assert_one_sentence(result, "--top-k must be at least 1")


def test_folder_without_photos_is_reported(run_module, tiny_folder, tmp_path):
    (tmp_path / "notes.txt").touch()
    result = run_module("flower_model", tmp_path, "--model", tiny_folder)
    assert_one_sentence(result, "No photos found in", tmp_path, "not a photo (1)")


def test_missing_model_folder_is_named(run_module, flower_photo, tmp_path):
    nowhere = tmp_path / "nowhere"
    result = run_module("flower_model", flower_photo, "--model", nowhere)
    assert_one_sentence(result, "no model folder", nowhere)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_model_file_is_named(run_here, tiny_copy, name):
    (tiny_copy / name).unlink()
    result = run_here(tiny_copy)
    assert_one_sentence(result, f"no {name}")


def test_config_with_invalid_json_is_rejected(run_here, tiny_copy):
    (tiny_copy / "config.json").write_text("{")
    result = run_here(tiny_copy)
    assert_one_sentence(result, "not valid JSON")


def test_labels_that_do_not_match_the_tensors_are_rejected(run_here, tiny_copy):
    edit_config(tiny_copy, label_names=["rose", "tulip"], num_classes=2)
    result = run_here(tiny_copy)
    assert_one_sentence(result, "does not fit its config.json", "2 labels")


def test_labels_that_do_not_match_num_classes_are_rejected(run_here, tiny_copy):
    edit_config(tiny_copy, num_classes=7)
    result = run_here(tiny_copy)
    assert_one_sentence(result, "5 label_names", "num_classes is 7")


def test_unknown_architecture_is_rejected(run_here, tiny_copy):
    edit_config(tiny_copy, architecture="rosenet50")
    result = run_here(tiny_copy)
    assert_one_sentence(result, "rosenet50")


def test_missing_tensor_is_named(run_here, tiny_copy):
    tensors = load_file(tiny_copy / "model.safetensors")
    del tensors["fc.bias"]
    save_file(tensors, tiny_copy / "model.safetensors")
    result = run_here(tiny_copy)
    assert_one_sentence(result, "'fc.bias'", "missing")


@pytest.mark.parametrize("damage", ["garbage", "cut short"])
def test_damaged_weights_are_rejected(run_here, tiny_copy, damage):
    weights = tiny_copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"\xff" * 4096 if damage == "garbage" else whole[: len(whole) // 2])
    result = run_here(tiny_copy)
    assert_one_sentence(result, "damaged or cut short")


def hub(tmp_path, endpoint):
    """Environment variables for a Hub at `endpoint` and an empty cache."""
    return {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}


def test_missing_hub_repository_is_reported(run_module, flower_photo, tmp_path):
    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = ("flower_model", flower_photo, "--model", "somebody/flowers")
        result = run_module(*words, **hub(tmp_path, f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
    assert_one_sentence(result, "no Hub repository 'somebody/flowers'")


def test_invalid_repository_name_is_reported(run_here):
    result = run_here("no/such/thing")
    assert_one_sentence(result, "no/such/thing")


def test_the_genus_is_printed_first_if_only_that_is_sure():
    lilies = Prediction((("tiger lily", 0.45), ("fire lily", 0.44)), genus=("Lilium", 0.93))
    assert table("a.jpg", lilies).splitlines() == [
        "a.jpg",
        "  genus Lilium   93.00%",
        "  tiger lily     45.00%",
        "  fire lily      44.00%",
    ]


def test_line_breaks_in_a_file_name_forge_no_answer():
    rose = Prediction((("rose", 0.9),))
    forged = "x.jpg\n  tulip  99.99%\nreal.jpg"
    assert table(forged, rose, f"from 2 photos; {forged} disagrees: tulip").splitlines() == [
        r"x.jpg\n  tulip  99.99%\nreal.jpg",
        "  rose   90.00%",
        r"  from 2 photos; x.jpg\n  tulip  99.99%\nreal.jpg disagrees: tulip",
    ]
