"""A page that can be left alone: what becomes of the photos, faults, health, its end, and its log."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from flower_model.demo.micro_batching import SharedPasses, StuckError
from flower_model.demo.server.request_log import SORRY
from flower_model.demo.server.upload_folder import upload_folder
from tests.support.asking import ask, call, file, result, upload
from tests.support.commands import ROOT


@pytest.fixture
def photo(flower_photo):
    return flower_photo.read_bytes()


def wait_until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


# What becomes of the photos


def test_a_photo_is_deleted_soon_after_its_answer_and_its_session_forgotten(open_page_under, photo):
    url, folder = open_page_under(keep=2)
    before = set(folder.rglob("*"))
    (path,) = upload(url, photo).json()
    (unasked,) = upload(url, photo + b"x", name="orphan.jpg").json()
    event = call(url, file(path)).json()["event_id"]
    assert result(url, event)[0] == "complete"
    unfetched = call(url, file(path)).json()["event_id"]
    wait_until(lambda: not Path(path).exists() and not Path(unasked).exists())
    wait_until(lambda: set(folder.rglob("*")) <= before)  # its folder is gone, the page's own stay
    assert httpx.get(f"{url}gradio_api/file={path}").status_code == 403
    assert call(url, file(path)).json() == {"detail": "The photo did not arrive: send it again."}
    time.sleep(0.5)  # until what nobody has fetched was idle for two sweeps
    assert "waited too long" in result(url, unfetched)[1]["detail"]


def test_an_upload_that_breaks_off_leaves_nothing(open_page_under):
    url, folder = open_page_under()
    before = set(folder.rglob("*"))

    def breaks_off():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nphoto'
        wait_until(lambda: set(folder.rglob("*")) > before)
        raise ConnectionAbortedError

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    with pytest.raises(ConnectionAbortedError):
        httpx.post(f"{url}gradio_api/upload", content=breaks_off(), headers=kind)
    wait_until(lambda: set(folder.rglob("*")) == before)


def test_what_a_killed_page_left_behind_is_deleted_by_the_next():
    code = (
        "from flower_model.demo.server.upload_folder import upload_folder as f\n"
        "with f() as folder: open(folder + '/photo', 'w').close(); print(folder, flush=True); input()"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    killed, serving = (subprocess.Popen(command, **pipes) for _ in range(2))
    left, used = (Path(page.stdout.readline().strip()) for page in (killed, serving))
    killed.kill()
    killed.wait()
    assert (left / "photo").exists()
    with upload_folder() as own:
        assert not left.exists() and (used / "photo").exists() and Path(own).exists()
    serving.communicate("\n")
    assert not used.exists() and not Path(own).exists()


# Faults


def test_an_unforeseen_error_is_one_sentence_and_the_page_goes_on(
    open_page_under, find, photo, capfd
):
    url, _ = open_page_under()
    find.error = RuntimeError("/secret/path")
    kind, said = ask(url, photo)
    assert kind == "error" and said["error"] == SORRY
    with pytest.raises(AppError, match="Something went wrong on our side"):
        Client(url, verbose=False).predict(handle_file("README.md"), api_name="/identify")
    find.error = None
    assert ask(url, photo)[0] == "complete"
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["status"] for line in logged] == ["failed", "failed", "answered"]
    assert logged[0]["error"] == "RuntimeError" and "conftest.py" in logged[0]["at"]
    assert "/secret" not in str(logged)


def test_a_pass_that_never_ends_holds_nobody_for_ever():
    hang, calls = threading.Event(), []

    def run(batch):
        calls.append(batch)
        hang.wait()
        return batch

    find = SharedPasses(run, patience=1)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(find, number) for number in range(4)]
        assert all(isinstance(call.exception(10), StuckError) for call in asked)
    start = time.monotonic()
    with pytest.raises(StuckError):
        find(5)
    assert time.monotonic() - start < 0.8
    hang.set()
    wait_until(lambda: find._began is None)
    assert find(6) == 6


def test_healthz_says_whether_the_model_answers(open_page_under, find, monkeypatch):
    url, _ = open_page_under()
    monkeypatch.setattr("flower_model.demo.server.health.FRESH", 0.0)
    healthy = httpx.get(url + "healthz")
    assert healthy.status_code == 200 and healthy.json()["status"] == "ok"
    find.error = RuntimeError()
    sick = httpx.get(url + "healthz")
    assert sick.status_code == 503 and sick.json() == {"status": "the model does not answer"}
    find.error = None
    assert httpx.get(url + "healthz").status_code == 200


def test_healthz_does_not_wait_for_a_model_that_hangs(find):
    from flower_model.demo.server.health import Health

    find.go_on.clear()
    health = Health(find, lambda: False, patience=0.2)

    async def ask_twice():
        codes = [(await health.answer(None)).status_code for _ in range(2)]
        find.go_on.set()
        return codes

    with ThreadPoolExecutor(1) as thread:  # in this one Playwright may have a loop of its own
        assert thread.submit(asyncio.run, ask_twice()).result(20) == [503, 503]


def test_sigterm_answers_what_was_asked_and_refuses_the_rest(
    serve_app, tiny_folder, flower_photo, tmp_path
):
    served = serve_app("--model", tiny_folder)
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for number in range(400):
            zipped.write(flower_photo, f"{number}.jpg")
    (path,) = upload(served.url, archive.read_bytes(), name="many.zip").json()
    event = call(served.url, [file(path)], endpoint="identify_many").json()["event_id"]
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(result, served.url, event, "identify_many")
        time.sleep(0.5)
        assert not answer.done()
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        refused = upload(served.url, b"x")
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
        assert refused.text == "The page is being restarted: try again in a minute."
        assert httpx.get(served.url + "healthz").json() == {"status": "stopping"}
        kind, (rows,) = answer.result(60)
    assert kind == "complete" and len(rows) == 400 and all(row["answer"] for row in rows)
    code, _ = served.stop()
    assert code == 0
    assert not Path(path).parents[1].exists()


def test_the_log_is_lines_of_json_without_photos_names_or_addresses(
    serve_app, tiny_folder, flower_photo
):
    served = serve_app("--model", tiny_folder, "--rate", "4/hour")
    visitor = {"headers": {"X-Forwarded-For": "198.51.100.7"}}
    name = "my-secret-garden.jpg"
    ask(served.url, flower_photo.read_bytes(), **visitor)
    (path,) = upload(served.url, b"no photo", name=name, **visitor).json()
    bad = call(served.url, file(path), **visitor).json()["event_id"]
    assert result(served.url, bad)[0] == "error"
    event = call(served.url, [file(path)] * 3, endpoint="identify_many", **visitor).json()
    result(served.url, event["event_id"], "identify_many")
    for _ in range(2):
        last = call(served.url, file("/etc/passwd"), **visitor)
    assert last.status_code == 429
    httpx.get(served.url + "gradio_api/vibe-code")
    _, errors = served.stop()
    lines = [json.loads(line) for line in errors.splitlines()]
    told = [(line["endpoint"], line["status"], line.get("photos")) for line in lines]
    assert told == [
        ("/identify", "answered", 1),
        ("/identify", "refused", 1),
        ("/identify_many", "answered", 3),
        ("/gradio_api/call/", 400, None),
        ("/gradio_api/call/", 429, None),
        ("closed", 404, None),
    ]
    assert all(line["time"] and line["ms"] >= 0 for line in lines)
    assert lines[3]["visitor"] == lines[4]["visitor"] != lines[5]["visitor"]
    for secret in ("secret", "198.51", "127.0.0.1", os.sep + "tmp", "passwd", "vibe"):
        assert secret not in errors
