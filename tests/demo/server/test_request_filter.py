"""Untrusted clients get the page and its answers, and nothing else from the server."""

import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.support.api_clients import call, call_tool, file, identify, result, upload
from tests.support.commands import ROOT

API = "gradio_api/"
# Folders of this computer; only the upload folder's name may appear in a response.
FOLDERS = re.compile(rf"({re.escape(str(ROOT))}|{re.escape(os.path.expanduser('~'))}|/usr/|/etc/)")


@pytest.fixture(scope="module")
def uploaded(served, flower_photo):
    """The path of an uploaded photo."""
    return upload(served.url, flower_photo.read_bytes(), name="mine.jpg").json()[0]


def get(served, path):
    """Send a GET request whose path is not normalised."""
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
def test_files_of_the_server_are_not_served(served, uploaded, path):
    folder = Path(uploaded).parents[1]
    for way in (path, f"{folder}/{path}", f"{folder}/../{path}", f"{folder}/../..{path}"):
        for route in (f"{API}file=", f"{API}file/", "file=", "static/", "assets/", "svelte/"):
            status, answer = get(served, route + way)
            assert status in (400, 403, 404), (route, way)
            assert b"root:" not in answer and b"import argparse" not in answer
            assert b"Traceback" not in answer and str(ROOT).encode() not in answer


def test_an_upload_with_a_path_as_its_name_stays_in_the_upload_folder(served, flower_photo):
    for name in ("../../../app.py", "/etc/passwd", "..\\..\\app.py", "a/../../b.jpg"):
        (path,) = upload(served.url, flower_photo.read_bytes(), name=name).json()
        assert ".." not in Path(path).parts and Path(path).parent.parent.name.startswith(
            "flower-page-"
        )
        assert Path(path).read_bytes() == flower_photo.read_bytes()


def test_an_uploaded_photo_is_served_only_under_its_hash(served, uploaded):
    # Gradio does not check who fetches a file. Its address contains the SHA-256 of the content and
    # the file name; whoever knows these has the photo.
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
def test_unused_gradio_routes_are_closed(served, route):
    assert get(served, API + route)[0] == 404
    assert get(served, f"{API}/{route}")[0] == 404


def test_requests_cannot_bypass_the_queue(served, uploaded):
    for route in ("run/identify", "api/identify", "run/predict", "component_server"):
        body = {"data": [file(uploaded)], "fn_index": 5, "session_hash": "x"}
        got = httpx.post(served.url + API + route, json=body)
        assert got.status_code in (404, 500) and "label" not in got.text, route
    for route in ("process_recording", "vibe-edit", "run-history/connect", "stream/x"):
        assert httpx.post(served.url + API + route, json={}).status_code == 404


# URLs


@pytest.fixture
def internal():
    """The URL of an internal server, and the paths requested from it."""
    requested = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requested
        server.shutdown()


def test_no_url_is_fetched(served, uploaded, internal):
    inside, requested = internal
    sentence = "URLs are not fetched. Send the photo itself."
    for address in (f"{inside}/a.jpg", f"{inside.upper()}/b.jpg", "https://example.com/c.jpg"):
        for path in (address, f" {address}"):
            refused = call(served.url, file(path))
            assert refused.status_code == 400 and refused.json() == {"detail": sentence}
            refused = call(served.url, [file(path)], endpoint="identify_many")
            assert refused.status_code == 400 and refused.json() == {"detail": sentence}
    for fn_index in range(8):
        body = {"data": [file(inside)], "fn_index": fn_index, "session_hash": "abc"}
        assert httpx.post(f"{served.url}{API}queue/join", json=body).status_code == 400
    # A URL beside a valid path is ignored.
    event = call(served.url, file(uploaded) | {"url": f"{inside}/d.jpg"}).json()["event_id"]
    assert result(served.url, event)[0] == "complete"
    for route in (f"{API}file=", f"{API}file/", f"{API}proxy="):
        assert get(served, route + inside)[0] in (403, 404)
        assert get(served, route + quote(inside, safe=""))[0] in (403, 404)
    answer = call_tool(served, "identify", photo=f"{inside}/e.jpg")[1]
    assert answer.isError and "URLs are not fetched" in answer.content[0].text
    answer = call_tool(served, "identify_many", photos=[f"{inside}/f.jpg"])[1]
    assert "URLs are not fetched" in answer.structuredContent["result"][0]["error"]
    refused = httpx.post(f"{served.url}api/identify", content=f"{inside}/g.jpg".encode())
    assert "URLs are not fetched" in refused.json()["detail"]
    assert requested == []


def test_no_endpoint_reads_other_files(served):
    for fn_index in range(8):
        for data in ([file("/etc/passwd")], [[file("app.py")]], [{"path": "/etc/passwd"}]):
            body = {"data": data, "fn_index": fn_index, "session_hash": "abc"}
            refused = httpx.post(f"{served.url}{API}queue/join", json=body)
            assert refused.status_code == 400
            assert refused.json() == {"detail": "The photo did not arrive. Send it again."}


# Paths, tokens and traces


def test_responses_reveal_nothing_about_the_server(served, uploaded):
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
    assert identify(url, Path(uploaded).read_bytes())[0] == "complete"


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
