"""The served page: deletion of photos, errors, health check, shutdown and log."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from flower_model.demo.server.request_log import INTERNAL_ERROR
from flower_model.demo.server.upload_folder import upload_folder
from tests.support.api_clients import call, file, identify, result, upload
from tests.support.commands import ROOT


@pytest.fixture
def photo(flower_photo):
    return flower_photo.read_bytes()


def wait_until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


# Deletion of photos


def test_photos_expire_and_idle_sessions_are_released(serve_with_limits, photo):
    url, folder = serve_with_limits(keep_seconds=5)
    before = set(folder.rglob("*"))
    (path,) = upload(url, photo).json()
    (unused,) = upload(url, photo + b"x", name="orphan.jpg").json()
    event = call(url, file(path)).json()["event_id"]
    assert result(url, event)[0] == "complete"
    not_fetched = call(url, file(path)).json()["event_id"]
    wait_until(lambda: not Path(path).exists() and not Path(unused).exists())
    wait_until(lambda: set(folder.rglob("*")) <= before)  # only the page's own files stay
    assert httpx.get(f"{url}gradio_api/file={path}").status_code == 403
    assert call(url, file(path)).json() == {"detail": "The photo did not arrive. Send it again."}
    time.sleep(0.5)  # until the result was idle for two clean-ups
    assert "has expired" in result(url, not_fetched)[1]["detail"]


def test_an_aborted_upload_leaves_no_file(serve_with_limits):
    url, folder = serve_with_limits()
    before = set(folder.rglob("*"))

    def aborted_body():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nphoto'
        wait_until(lambda: set(folder.rglob("*")) > before)
        raise ConnectionAbortedError

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    with pytest.raises(ConnectionAbortedError):
        httpx.post(f"{url}gradio_api/upload", content=aborted_body(), headers=kind)
    wait_until(lambda: set(folder.rglob("*")) == before)


def test_upload_folders_of_dead_servers_are_deleted_at_the_next_start():
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


# Errors


def test_an_unexpected_error_is_one_sentence_and_later_requests_succeed(
    serve_with_limits, identifier, photo, capfd
):
    url, _ = serve_with_limits()
    identifier.error = RuntimeError("/secret/path")
    kind, answer = identify(url, photo)
    assert kind == "error" and answer["error"] == INTERNAL_ERROR
    with pytest.raises(AppError, match="Something went wrong on the server"):
        Client(url, verbose=False).predict(handle_file("README.md"), api_name="/identify")
    identifier.error = None
    assert identify(url, photo)[0] == "complete"
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["status"] for line in logged] == ["failed", "failed", "answered"]
    assert logged[0]["error"] == "RuntimeError" and "conftest.py" in logged[0]["at"]
    assert "/secret" not in str(logged)


def test_healthz_reports_whether_the_model_answers(serve_with_limits, identifier, monkeypatch):
    url, _ = serve_with_limits()
    monkeypatch.setattr("flower_model.demo.server.health.CACHED_SECONDS", 0.0)
    healthy = httpx.get(url + "healthz")
    assert healthy.status_code == 200 and healthy.json()["status"] == "ok"
    assert healthy.json()["runtime"] == identifier.model.runtime.name
    identifier.error = RuntimeError()
    failing = httpx.get(url + "healthz")
    assert failing.status_code == 503 and failing.json() == {"status": "the model does not answer"}
    identifier.error = None
    assert httpx.get(url + "healthz").status_code == 200


def test_healthz_does_not_wait_for_a_hung_model(identifier):
    from flower_model.demo.server.health import HealthCheck

    identifier.resume.clear()
    health = HealthCheck(identifier, lambda: False, timeout=0.2)

    async def check_twice():
        codes = [(await health.respond(None)).status_code for _ in range(2)]
        identifier.resume.set()
        return codes

    with ThreadPoolExecutor(1) as thread:  # Playwright may run an event loop in this one
        assert thread.submit(asyncio.run, check_twice()).result(20) == [503, 503]


def test_sigterm_answers_accepted_requests_and_refuses_new_ones(
    serve_app, tiny_folder, flower_photo, tmp_path
):
    served = serve_app("--model", tiny_folder)
    archive, large = tmp_path / "many.zip", tmp_path / "large.jpg"
    Image.open(flower_photo).resize((2400, 1600)).save(large, quality=60, progressive=True)
    with zipfile.ZipFile(archive, "w") as zipped:
        for number in range(200):
            zipped.write(large, f"{number}.jpg")
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
        assert refused.text == "The page is restarting. Try again in a minute."
        assert httpx.get(served.url + "healthz").json() == {"status": "stopping"}
        kind, (rows,) = answer.result(60)
    assert kind == "complete" and len(rows) == 200 and all(row["answer"] for row in rows)
    code, _ = served.stop()
    assert code == 0
    assert not Path(path).parents[1].exists()


def test_log_lines_are_json_without_photos_file_names_or_addresses(
    serve_app, tiny_folder, flower_photo
):
    served = serve_app("--model", tiny_folder, "--rate", "4/hour")
    visitor = {"headers": {"X-Forwarded-For": "198.51.100.7"}}
    name = "my-secret-garden.jpg"
    identify(served.url, flower_photo.read_bytes(), **visitor)
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
    outcomes = [(line["endpoint"], line["status"], line.get("photos")) for line in lines]
    assert outcomes == [
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
