"""python app.py: one line when it serves, one sentence when it can't, a clean end."""

import platform
import shutil
import signal
import socket
import time

import httpx
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from flower_model.cli.common import WEIGHTS
from tests.support.commands import ROOT, assert_one_sentence, free_port

NO_PROXY = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def test_it_prints_one_line_and_stops_cleanly(serve_app, tiny_folder):
    served = serve_app("--model", tiny_folder)
    assert served.lines == [f"The page is at {served.url} (Ctrl-C stops it)."]
    served.process.send_signal(signal.SIGINT)
    code, errors = served.stop()
    assert code == 0 and errors == ""


def test_the_shipped_model_answers_by_default(serve_app, flower_photo):
    if not (WEIGHTS / "model.safetensors").exists():
        pytest.skip("weights/ holds no model.safetensors")
    client = Client(serve_app().url, verbose=False)
    answer = client.predict(handle_file(flower_photo), api_name="/identify")
    assert answer["label"] and len(answer["top"]) == 5


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_it_listens_on_an_ipv6_address(serve_app, tiny_folder, host):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    served = serve_app("--model", tiny_folder, "--host", host, host="[::1]")
    assert httpx.get(served.url).status_code == 200


def test_behind_a_proxy_for_the_world_outside_it_starts(serve_app, tiny_folder):
    nowhere = "http://127.0.0.1:9"
    served = serve_app("--model", tiny_folder, HTTP_PROXY=nowhere, http_proxy=nowhere, no_proxy="")
    assert served.lines == [f"The page is at {served.url} (Ctrl-C stops it)."]


@pytest.fixture(scope="module")
def guarded(serve_app, tiny_folder):
    options = ["--auth", "flora:s3:cret", "--root-path", "/demo", "--max-size", "100kb"]
    return serve_app("--model", tiny_folder, *options)


def test_auth_lets_in_only_who_knows_the_password(guarded, tmp_path):
    assert httpx.get(guarded.url + "config").status_code == 401
    small = tmp_path / "small.jpg"
    Image.new("RGB", (64, 64), "red").save(small)
    client = Client(guarded.url, auth=("flora", "s3:cret"), verbose=False)
    assert client.predict(handle_file(small), api_name="/identify")["label"]


def test_behind_a_proxy_every_address_has_the_root_path(guarded):
    page = httpx.get(guarded.url)
    assert f'"root":"{guarded.url}demo"' in page.text.replace(" ", "")


def test_a_larger_upload_than_max_size_is_refused(guarded):
    with httpx.Client(base_url=guarded.url) as client:
        client.post("login", data={"username": "flora", "password": "s3:cret"})
        for size, status in ((90_000, 200), (110_000, 413)):
            sent = client.post("gradio_api/upload", files={"files": ("a.jpg", b"x" * size)})
            assert sent.status_code == status


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--auth", "flora"], ["USER:PASS"]),
        (["--auth", "flora:"], ["USER:PASS"]),
        (["--auth", ":secret"], ["USER:PASS"]),
        (["--auth", ""], ["USER:PASS"]),
        (["--port", "0"], ["between 1 and 65535"]),
        (["--port", "65536"], ["between 1 and 65535"]),
        (["--host", "192.0.2.1"], ["192.0.2.1", "choose another"]),
        (["--root-path", "demo"], ["--root-path", "/demo", "'demo'"]),
        (["--max-size", "20"], ["--max-size", "20mb", "'20'"]),
        (["--max-size", "0mb"], ["--max-size", "'0mb'"]),
        (["--max-size", "-1mb"], ["--max-size"]),
        (["--max-queue", "0"], ["--max-queue"]),
        (["--rate", "often"], ["--rate", "60/minute", "'often'"]),
        (["--rate", "0/minute"], ["--rate"]),
    ],
)
def test_a_bad_option_is_told_in_one_sentence(run_script, words, parts):
    assert_one_sentence(run_script("app.py", "=".join(words)), *parts)


def test_a_port_in_use_is_told(run_script, tiny_folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_script("app.py", "--model", tiny_folder, "--port", port)
    assert_one_sentence(result, port, "in use")


def test_missing_model_folder_is_named(run_script, tmp_path):
    result = run_script("app.py", "--model", tmp_path / "nowhere", "--port", free_port())
    assert_one_sentence(result, "no model folder", tmp_path)


def test_unreachable_hub_is_reported(run_script, tmp_path):
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    result = run_script("app.py", "--model", "somebody/flowers", **hub, **NO_PROXY)
    assert_one_sentence(result, "somebody/flowers", "connection to the Hub failed")


# A public link. Gradio asks an address on the internet for a share server, or takes the one that
# GRADIO_SHARE_SERVER_ADDRESS names, and starts the program frpc, which it keeps under HF_HOME.


@pytest.fixture
def link_service(tmp_path):
    """`link_service("works")` is an environment in which Gradio finds tests/support/frpc.py as its frpc."""

    def link_service(behaviour):
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(
            platform.machine(), platform.machine().lower()
        )
        folder = tmp_path / "gradio" / "frpc"
        folder.mkdir(parents=True)
        (folder / "behaviour").write_text(behaviour)
        program = folder / f"frpc_{platform.system().lower()}_{machine}_v0.3"
        shutil.copy(ROOT / "tests" / "support" / "frpc.py", program)
        program.chmod(0o755)
        return {
            "HF_HOME": str(tmp_path),
            "GRADIO_SHARE_SERVER_ADDRESS": "127.0.0.1:7000",
            **NO_PROXY,
        }

    return link_service


def test_a_public_link_is_told_and_leads_to_the_page(serve_app, tiny_folder, link_service):
    served = serve_app("--model", tiny_folder, "--share", **link_service("works"))
    assert served.next_line() == "Asking Gradio for a public link …"
    told = served.next_line()
    assert told.startswith("For a week it is also at https://127.0.0.1:")
    public = told.rpartition(" ")[2].replace("https", "http")  # the real service adds the TLS
    assert httpx.get(public + "/config").status_code == 200
    code, errors = served.stop()
    assert code == 0 and errors == ""
    with pytest.raises(httpx.ConnectError):  # the tunnel has gone too
        httpx.get(public + "/config")


def assert_served_without_a_link(served, flower_photo):
    assert served.lines == [f"The page is at {served.url} (Ctrl-C stops it)."]
    answer = Client(served.url, verbose=False).predict(
        handle_file(flower_photo), api_name="/identify"
    )
    assert answer["label"]
    code, errors = served.stop()
    assert code == 0
    (told,) = (line for line in errors.splitlines() if not line.startswith("{"))  # no log line
    assert "There is no public link" in told
    assert "training.publish MODEL user/repo --space user/demo" in told


def test_a_link_that_is_refused_is_told_and_the_page_served(
    serve_app, tiny_folder, link_service, flower_photo
):
    # GRADIO_SHARE asks for one as --share does.
    served = serve_app("--model", tiny_folder, GRADIO_SHARE="True", **link_service("refuses"))
    assert_served_without_a_link(served, flower_photo)


def test_without_a_network_there_is_no_link_and_the_page_is_served(
    serve_app, tiny_folder, flower_photo
):
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    served = serve_app("--model", tiny_folder, "--share", **nowhere, **NO_PROXY)
    assert_served_without_a_link(served, flower_photo)


def test_it_can_be_stopped_while_it_asks_for_a_link(serve_app, tiny_folder, link_service, tmp_path):
    served = serve_app("--model", tiny_folder, "--share", **link_service("hangs"))
    assert served.next_line() == "Asking Gradio for a public link …"
    deadline = time.monotonic() + 60
    while not (tmp_path / "gradio" / "frpc" / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    served.process.send_signal(signal.SIGINT)
    start = time.monotonic()
    code, errors = served.stop()
    assert time.monotonic() - start < 3
    assert code == 0 and errors == ""
