"""Limits of the served page: queue, rate and size."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError
from limits import parse

from flower_model import FlowerClassifier
from flower_model.demo.identifier import PhotoIdentifier
from flower_model.demo.server import request_filter
from tests.support.api_clients import call, file, identify, join, result, upload


@pytest.fixture
def photo(flower_photo):
    return flower_photo.read_bytes()


def test_a_full_queue_refuses_requests_until_it_drains(serve_with_limits, identifier, photo):
    url, _ = serve_with_limits(queue=2)
    (path,) = upload(url, photo).json()
    client = Client(url, verbose=False)
    identifier.resume.clear()
    accepted = []
    while (called := call(url, file(path))).status_code == 200:
        accepted.append(called.json()["event_id"])
        assert len(accepted) < 50
    assert called.status_code == 503 and int(called.headers["Retry-After"]) > 0
    assert called.json() == {"detail": "Too many requests are waiting. Try again in a few seconds."}
    with pytest.raises(QueueError, match="Queue is full! Please try again."):
        client.predict(handle_file("README.md"), api_name="/identify")
    identifier.resume.set()
    assert {result(url, event)[0] for event in accepted} == {"complete"}
    assert identify(url, photo)[0] == "complete"


def test_the_page_reports_a_full_queue(serve_with_limits, identifier, open_page, flower_photo):
    url, _ = serve_with_limits(queue=1)
    page = open_page(url)
    identifier.resume.clear()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(httpx.post, f"{url}api/identify", content=b"x", timeout=60)
        while not identifier.photos:
            time.sleep(0.01)
        page.set_input_files("#photo input[type=file]", str(flower_photo))
        page.get_by_text("Too many requests are waiting. Try again in a few seconds.").wait_for()
        identifier.resume.set()
        assert waiting.result().status_code == 422


def test_a_rate_limited_client_learns_when_to_retry(serve_with_limits, photo):
    url, _ = serve_with_limits(rate=parse("3/minute"), include_local=True)
    one, other = {"X-Forwarded-For": "198.51.100.1"}, {"X-Forwarded-For": "198.51.100.2"}
    for _ in range(3):
        assert identify(url, photo, headers=one)[0] == "complete"
    refused = upload(url, photo, headers=one)
    wait = int(refused.headers["Retry-After"])
    assert refused.status_code == 429 and 1 <= wait <= 120
    sentence = f"You are sending requests too fast. Try again in {wait} s."
    assert refused.text == sentence
    refused = call(url, None, headers=one)
    assert refused.status_code == 429 and "Try again in" in refused.json()["detail"]
    assert identify(url, photo, headers=other)[0] == "complete"


def test_the_page_reports_the_rate_limit(serve_with_limits, open_page, flower_photo):
    url, _ = serve_with_limits(rate=parse("1/hour"), include_local=True)
    page = open_page(url)
    page.set_input_files("#photo input[type=file]", str(flower_photo))
    page.locator("#answer h2").wait_for()
    page.set_input_files("#photo input[type=file]", str(flower_photo))
    page.locator("#answer .error").get_by_text("You are sending requests too fast").wait_for()


def test_clients_on_this_computer_are_not_rate_limited_by_default(serve_with_limits, photo):
    url, _ = serve_with_limits(rate=parse("1/hour"))
    assert [identify(url, photo)[0] for _ in range(3)] == ["complete"] * 3
    far = {"X-Forwarded-For": "2001:db8::1"}
    assert identify(url, photo, headers=far)[0] == "complete"
    neighbour = {"X-Forwarded-For": "2001:db8::2"}  # in the same /64 network
    assert upload(url, photo, headers=neighbour).status_code == 429


def test_an_ipv4_mapped_ipv6_address_is_the_same_client(serve_with_limits, photo):
    url, _ = serve_with_limits(rate=parse("1/hour"))
    one, other = "::ffff:198.51.100.1", "::ffff:198.51.100.2"
    for visitor in (one, other, *["::ffff:127.0.0.1"] * 3):
        assert identify(url, photo, headers={"X-Forwarded-For": visitor})[0] == "complete"
    assert upload(url, photo, headers={"X-Forwarded-For": "198.51.100.1"}).status_code == 429


def test_all_endpoints_together_process_sixteen_photos_at_once(
    serve_page, tiny_model, photo, monkeypatch
):
    inside, resume = [], threading.Event()
    identify_photo = PhotoIdentifier(tiny_model)

    def classify(pixels):
        inside.append(1)
        assert resume.wait(60)
        return classify_now(pixels)

    classify_now = identify_photo._classify
    monkeypatch.setattr(identify_photo, "_classify", classify)
    url = serve_page(identify_photo, "tiny")
    (path,) = upload(url, photo).json()
    with ThreadPoolExecutor(20) as threads:
        for _ in range(20):
            call(url, file(path))
            threads.submit(httpx.post, f"{url}api/identify", content=photo, timeout=90)
        assert _settled(inside, 16) == 16
        resume.set()


def test_the_page_and_the_api_together_process_two_batches_at_once(launch, tiny_model, photo):
    inside, resume = [], threading.Event()

    class Held:
        """The model's runtime, paused until `resume` is set."""

        name = tiny_model.runtime.name
        num_classes = len(tiny_model.labels)
        data_config = tiny_model.runtime.data_config

        def __call__(self, pixels):
            inside.append(1)
            assert resume.wait(60)
            return tiny_model.runtime(pixels)

    model = FlowerClassifier(tiny_model.network, tiny_model.config, runtime=Held())
    url = launch(model, "tiny")
    (path,) = upload(url, photo).json()
    for _ in range(4):
        join(url, "identify_photos", [file(path)])
        call(url, [file(path)], endpoint="identify_many")
    assert _settled(inside, 2) == 2
    resume.set()
    assert _settled(inside, 8) == 8


def test_waiting_mcp_calls_are_bounded_and_leave_the_page_its_threads(
    serve_page, identifier, photo
):
    url = serve_page(identifier, "tiny", mcp=True, queue=50)
    params = {"name": "identify_many", "arguments": {"photos": ["AAAA"]}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"Accept": "application/json, text/event-stream"}

    def call_tool():
        return httpx.post(f"{url}gradio_api/mcp/", json=request, headers=headers, timeout=60)

    for _ in range(2):
        identifier.batch_slots.acquire()
    with ThreadPoolExecutor(60) as clients:
        calls = [
            clients.submit(call_tool) for _ in range(60)
        ]  # anyio has 40 threads for everything
        deadline = time.monotonic() + 30
        while sum(call.done() for call in calls) < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert upload(url, photo, timeout=10).status_code == 200
        identifier.batch_slots.release(2)
        answers = [call.result() for call in calls]
    assert Counter(answer.status_code for answer in answers) == {200: 50, 503: 10}
    refused = {answer.json()["detail"] for answer in answers if answer.status_code == 503}
    assert refused == {"Too many requests are waiting. Try again in a few seconds."}


def test_an_upload_that_trickles_is_refused(serve_with_limits, monkeypatch):
    monkeypatch.setattr(request_filter, "STALL_SECONDS", 0.5)
    url, _ = serve_with_limits()

    def trickle():
        for _ in range(20):
            yield b"x"
            time.sleep(0.1)

    refused = httpx.post(f"{url}api/identify", content=trickle())
    assert refused.status_code == 408 and "too slow" in refused.json()["detail"]


def test_an_upload_that_meets_a_full_disk_is_refused(serve_with_limits, monkeypatch):
    url, _ = serve_with_limits()
    room = iter([10**12, *[0] * 100])  # others fill the disk meanwhile
    monkeypatch.setattr(
        request_filter.shutil, "disk_usage", lambda _: SimpleNamespace(free=next(room))
    )
    content = (bytes(1_000_000) for _ in range(25))  # of a length that the client has not said
    refused = httpx.post(f"{url}api/identify", content=content)
    assert refused.status_code == 503 and "no disk space" in refused.json()["detail"]


def test_an_oversized_upload_is_refused_and_not_stored(serve_with_limits, photo):
    url, folder = serve_with_limits(max_bytes=300_000)

    def in_chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(10):
            yield b"x" * 100_000

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for refused in (
        upload(url, b"x" * 400_000),
        httpx.post(f"{url}gradio_api/upload", content=in_chunks(), headers=kind),
    ):
        assert refused.status_code == 413
        assert refused.text == (
            "The upload exceeds the maximum allowed size of 0.3 MB. Send fewer or smaller files."
        )
    assert [path for path in folder.rglob("*") if b"x" * 99 in _bytes(path)] == []


def test_an_oversized_json_request_is_refused(served):
    for route in ("call/identify", "queue/join", "cancel", "mcp/"):
        refused = httpx.post(f"{served.url}gradio_api/{route}", content=b" " * 41_000_000)
        assert refused.status_code == 413, route
        assert refused.json() == {"detail": "The request is too long. Upload the photos as files."}


def _bytes(path):
    return path.read_bytes() if path.is_file() else b""


def _settled(inside, expected):
    """Return the count one second after it reached `expected`, or after a minute."""
    deadline = time.monotonic() + 60
    while len(inside) < expected and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    return len(inside)
