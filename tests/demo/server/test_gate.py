"""What a stranger can get from a served page: what this page made, and nothing of the server."""

import ast
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.support.asking import ask, call, call_tool, file, result, upload
from tests.support.commands import ROOT

API = "gradio_api/"
# Folders of this computer; only the name of the page's own temporary folder may be seen.
FOLDERS = re.compile(rf"({re.escape(str(ROOT))}|{re.escape(os.path.expanduser('~'))}|/usr/|/etc/)")


@pytest.fixture(scope="module")
def uploaded(served, flower_photo):
    """The path of a photo that a visitor has sent."""
    return upload(served.url, flower_photo.read_bytes(), name="mine.jpg").json()[0]


def get(served, path):
    """A GET whose path is sent as it is, dots and all."""
    host, port = served.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split()[1]), answer


@pytest.mark.parametrize(
    "path",
    [
        "app.py",
        "./app.py",
        str(ROOT / "app.py"),
        "weights/config.json",
        "weights/model.safetensors",
        str(ROOT / "weights" / "config.json"),
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "../../../../../../etc/passwd",
        "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "%252fetc%252fpasswd",
        "/etc/passwd%00.jpg",
        "/proc/self/environ",
        "C:%5CWindows%5Cwin.ini",
        ".",
        "",
    ],
)
def test_a_file_of_the_server_is_not_given_out(served, uploaded, path):
    folder = Path(uploaded).parents[1]
    for way in (path, f"{folder}/{path}", f"{folder}/../{path}", f"{folder}/../..{path}"):
        for route in (f"{API}file=", f"{API}file/", "file=", "static/", "assets/", "svelte/"):
            status, answer = get(served, route + way)
            assert status in (400, 403, 404), (route, way)
            assert b"root:" not in answer and b"import argparse" not in answer
            assert b"Traceback" not in answer and str(ROOT).encode() not in answer


def test_a_link_in_an_upload_s_name_or_a_climbing_name_leads_nowhere(served, flower_photo):
    for name in ("../../../app.py", "/etc/passwd", "..\\..\\app.py", "a/../../b.jpg"):
        (path,) = upload(served.url, flower_photo.read_bytes(), name=name).json()
        assert ".." not in Path(path).parts and Path(path).parent.parent.name.startswith(
            "flower-page-"
        )
        assert Path(path).read_bytes() == flower_photo.read_bytes()


def test_a_photo_is_given_to_nobody_who_does_not_have_it(served, uploaded):
    # Gradio asks no file's reader who he is. What protects a photo is its address, which holds the
    # SHA-256 of its content and its name: whoever knows these has the photo.
    digest, name = Path(uploaded).parts[-2:]
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert get(served, f"{API}file={uploaded}")[0] == 200
    root = Path(uploaded).parents[1]
    for guess in (root, root / digest, root / digest / "other.jpg", root / "0" / name):
        assert get(served, f"{API}file={guess}")[0] == 403
    for listed in ("config", f"{API}info", f"{API}queue/status", ""):
        assert digest not in httpx.get(served.url + listed).text


@pytest.mark.parametrize(
    "route",
    [
        "proxy=http://127.0.0.1:9/",
        "proxy=https://huggingface.co/",
        "deep_link?session_hash=x",
        "vibe-code",
        "dev/reload",
        "custom_component/x/client/a/b.js",
        "stream/a/b/1/playlist.m3u8",
        "runs",
        "token",
        "profiling/traces",
        "../monitoring",
        "../monitoring/summary",
        "../docs",
        "../openapi.json",
    ],
)
def test_what_the_page_does_not_need_of_gradio_is_closed(served, route):
    assert get(served, API + route)[0] == 404
    assert get(served, f"{API}/{route}")[0] == 404


def test_nothing_can_be_posted_past_the_queue(served, uploaded):
    for route in ("run/identify", "api/identify", "run/predict", "component_server"):
        body = {"data": [file(uploaded)], "fn_index": 5, "session_hash": "x"}
        got = httpx.post(served.url + API + route, json=body)
        assert got.status_code in (404, 500) and "label" not in got.text, route
    for route in ("process_recording", "vibe-edit", "run-history/connect", "stream/x"):
        assert httpx.post(served.url + API + route, json={}).status_code == 404


# Nothing is fetched on a visitor's word


@pytest.fixture
def internal():
    """The address of a server inside, and what was asked of it."""
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_no_address_is_fetched(served, uploaded, internal):
    inside, asked = internal
    sentence = "Send the photo itself: nothing is fetched from an address."
    for address in (f"{inside}/a.jpg", f"{inside.upper()}/b.jpg", "https://example.com/c.jpg"):
        for path in (address, f" {address}"):
            refused = call(served.url, file(path))
            assert refused.status_code == 400 and refused.json() == {"detail": sentence}
            refused = call(served.url, [file(path)], endpoint="identify_many")
            assert refused.status_code == 400 and refused.json() == {"detail": sentence}
    for fn_index in range(8):
        body = {"data": [file(inside)], "fn_index": fn_index, "session_hash": "abc"}
        assert httpx.post(f"{served.url}{API}queue/join", json=body).status_code == 400
    # An address beside a good path is left alone.
    event = call(served.url, file(uploaded) | {"url": f"{inside}/d.jpg"}).json()["event_id"]
    assert result(served.url, event)[0] == "complete"
    for route in (f"{API}file=", f"{API}file/", f"{API}proxy="):
        assert get(served, route + inside)[0] in (403, 404)
        assert get(served, route + quote(inside, safe=""))[0] in (403, 404)
    said = call_tool(served, "identify", photo=f"{inside}/e.jpg")[1]
    assert said.isError
    said = call_tool(served, "identify_many", photos=[f"{inside}/f.jpg"])[1]
    assert sentence in ast.literal_eval(said.content[0].text)[0]["error"]
    assert asked == []


def test_no_question_of_any_endpoint_reads_another_file(served):
    for fn_index in range(8):
        for data in ([file("/etc/passwd")], [[file("app.py")]], [{"path": "/etc/passwd"}]):
            body = {"data": data, "fn_index": fn_index, "session_hash": "abc"}
            refused = httpx.post(f"{served.url}{API}queue/join", json=body)
            assert refused.status_code == 400
            assert refused.json() == {"detail": "The photo did not arrive: send it again."}


# No path, token or trace


def test_nothing_of_the_server_is_in_what_a_visitor_sees(served, uploaded):
    url, seen = served.url, []
    for path in ("", "config", "nope", "manifest.json", *(API + name for name in READABLE)):
        seen.append(httpx.get(url + path))
    for path in (f"{API}queue/join", f"{API}call/identify", f"{API}call/nope", f"{API}upload"):
        seen.append(httpx.post(url + path, json={"data": []}))
        seen.append(httpx.post(url + path, json=[]))
        seen.append(httpx.post(url + path, content=b"{", headers={"Content-Type": "text/json"}))
        seen.append(httpx.post(url + path, json={"data": 7, "fn_index": "x", "session_hash": 1}))
    for data in ([None], [file(uploaded)] * 3, [{"meta": {}}], ["x"], [{}]):
        called = call(url, *data)
        seen.append(called)
        if called.status_code == 200:
            event = called.json()["event_id"]
            seen.append(httpx.get(f"{url}{API}call/identify/{event}", timeout=30))
    for answer in seen:
        text = answer.text + str(answer.headers)
        assert "Traceback" not in text and "site-packages" not in text, answer.url
        assert not FOLDERS.search(answer.text), answer.url
        assert not set(answer.headers) & {"set-cookie", "x-powered-by"}
    assert ask(url, Path(uploaded).read_bytes())[0] == "complete"


READABLE = (
    *("info", "info?all_endpoints=true", "openapi.json", "app_id", "user", "queue/status"),
    *(
        "call/identify/nope",
        "queue/data?session_hash=nope",
        "file=nope",
        "mcp/schema",
        "login_check",
    ),
)
