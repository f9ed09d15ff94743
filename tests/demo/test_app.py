"""python app.py: addresses, options, errors in one sentence, public link and clean shutdown."""

import base64
import platform
import shutil
import signal
import socket
import time

import httpx
import psutil
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from flower_model.cli.common import WEIGHTS
from flower_model.demo.server.arguments import page_parser
from tests.support.api_clients import call_tool
from tests.support.commands import ROOT, Served, assert_one_sentence, free_port

NO_PROXY = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def test_the_address_is_printed_and_ctrl_c_ends_the_server(serve_app, tiny_folder):
    served = serve_app("--model", tiny_folder)
    assert served.lines == [f"The page is at {served.url} (press Ctrl-C to stop)."]
    served.process.send_signal(signal.SIGINT)
    code, errors = served.stop()
    assert code == 0 and errors == ""


def test_the_shipped_model_answers_by_default(serve_app, flower_photo):
    if not (WEIGHTS / "model.safetensors").exists():
        pytest.skip("weights/ holds no model.safetensors")
    client = Client(serve_app().url, verbose=False)
    answer = client.predict(handle_file(flower_photo), api_name="/identify")
    assert answer["label"] and len(answer["top"]) == 5


def test_it_listens_on_an_ipv6_address(serve_app, tiny_folder):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    served = serve_app("--model", tiny_folder, "--host", "[::1]", host="[::1]")
    assert httpx.get(served.url).status_code == 200


def test_brackets_around_an_ipv6_address_are_optional():
    hosts = [page_parser().parse_args(["--host", host]).host for host in ("::1", "[::1]")]
    assert hosts == ["::1", "::1"]


def test_the_page_starts_with_unusable_network_variables(serve_app, tiny_folder):
    socks, nowhere = "socks://127.0.0.1:9", "http://127.0.0.1:9"
    variables = {"all_proxy": socks, "ALL_PROXY": socks, "http_proxy": nowhere}
    variables |= {"HTTP_PROXY": nowhere, "https_proxy": "ftp://proxy"}
    variables |= dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,::1,[fe80::1]")
    variables |= {"SSL_CERT_FILE": "/nowhere/ca.pem", "SSL_CERT_DIR": "/nowhere"}
    variables |= {"GRADIO_NUM_PORTS": "many"}
    served = serve_app("--model", tiny_folder, **variables)
    assert served.lines == [f"The page is at {served.url} (press Ctrl-C to stop)."]
    assert served.stop() == (0, "")


@pytest.mark.parametrize("port", ["abc", "78,60", "-1", "0", "99999"])
def test_a_bad_port_variable_is_named_in_one_sentence(run_script, port):
    result = run_script("app.py", GRADIO_SERVER_PORT=port)
    assert_one_sentence(result, "GRADIO_SERVER_PORT", f"'{port}'")


def test_the_port_can_come_from_the_environment(run_script, tiny_folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run_script("app.py", "--model", tiny_folder, GRADIO_SERVER_PORT=port)
    assert_one_sentence(result, port, "in use")


def test_all_interfaces_print_an_address_for_this_computer(serve_app, tiny_folder):
    served = serve_app("--model", tiny_folder, "--host", "0.0.0.0", host="localhost")
    assert served.lines[0] == f"The page is at {served.url} (press Ctrl-C to stop)."
    assert httpx.get(served.url).status_code == 200


def test_a_page_without_visitors_leaves_the_processor_alone(served):
    process = psutil.Process(served.process.pid)
    before = process.cpu_times()
    time.sleep(4)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.2  # 5 % of a core


@pytest.fixture(scope="module")
def guarded(tiny_folder):
    options = ["--auth", "flora:s3:cret", "--root-path", "/demo", "--max-size", "100kb", "--mcp"]
    with Served("--model", tiny_folder, *options) as page:
        yield page


def test_auth_requires_the_password(guarded, tmp_path):
    assert httpx.get(guarded.url + "config").status_code == 401
    small = tmp_path / "small.jpg"
    Image.new("RGB", (64, 64), "red").save(small)
    client = Client(guarded.url, auth=("flora", "s3:cret"), verbose=False)
    assert client.predict(handle_file(small), api_name="/identify")["label"]


def test_auth_protects_the_rest_api_and_mcp(guarded, tmp_path):
    photo = tmp_path / "small.jpg"
    Image.new("RGB", (64, 64), "red").save(photo)
    content = photo.read_bytes()
    refused = httpx.post(f"{guarded.url}api/identify", content=content)
    assert refused.status_code == 401 and refused.headers["WWW-Authenticate"].startswith("Basic")
    assert "curl -u USER:PASSWORD" in refused.json()["detail"]
    assert httpx.post(f"{guarded.url}gradio_api/mcp/", json={}).status_code == 401
    by_the_page = {"Accept": "text/html"}  # after the server was started again
    expired = httpx.post(f"{guarded.url}api/identify", content=content, headers=by_the_page)
    assert expired.status_code == 401 and "session has expired" in expired.json()["detail"]
    assert "WWW-Authenticate" not in expired.headers
    login = ("flora", "s3:cret")
    for auth, status in ((login, 200), (("flora", "wrong"), 401)):
        sent = httpx.post(f"{guarded.url}api/identify", content=content, auth=auth)
        assert sent.status_code == status
    with httpx.Client(base_url=guarded.url) as visitor:  # logged in on the page
        visitor.post("login", data={"username": login[0], "password": login[1]})
        assert visitor.post("api/identify", content=content).status_code == 200
    basic = "Basic " + base64.b64encode(b"flora:s3:cret").decode()
    text = base64.b64encode(content).decode()
    _, answer = call_tool(guarded, "identify", {"Authorization": basic}, photo=text)
    assert answer.structuredContent["label"]


def test_uploads_and_queue_joins_after_the_session_say_so_in_one_sentence(guarded):
    sentence = "Your session has expired. Reload the page and log in again."
    upload = httpx.post(f"{guarded.url}gradio_api/upload", files={"files": ("a.jpg", b"x")})
    assert upload.status_code == 401 and upload.text == sentence
    join = httpx.post(f"{guarded.url}gradio_api/queue/join", json={"data": [], "fn_index": 0})
    assert join.status_code == 401 and join.json() == {"detail": sentence}


def test_root_path_is_part_of_every_address(guarded):
    with httpx.Client(base_url=guarded.url) as visitor:
        visitor.post("login", data={"username": "flora", "password": "s3:cret"})
        page = visitor.get("")
    assert f'"root":"{guarded.url}demo"' in page.text.replace(" ", "")
    text = httpx.get(f"{guarded.url}api").text
    assert f"{guarded.url}demo/api/identify<" in text and f"{guarded.url}api" not in text
    description = httpx.get(f"{guarded.url}api/openapi.json").json()
    assert description["servers"] == [{"url": "/demo"}]


def test_a_root_path_may_be_a_url(serve_app, tiny_folder):
    address = "https://flora.org/demo/"
    served = serve_app("--model", tiny_folder, "--root-path", address, address=address)
    assert f"{address}api/identify<" in httpx.get(f"{served.url}api").text
    description = httpx.get(f"{served.url}api/openapi.json").json()
    assert description["servers"] == [{"url": "https://flora.org/demo"}]


def test_a_larger_upload_than_max_size_is_refused(guarded):
    with httpx.Client(base_url=guarded.url) as client:
        client.post("login", data={"username": "flora", "password": "s3:cret"})
        for size, status in ((100_000, 200), (100_001, 413)):
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
        (["--host", "192.0.2.1"], ["192.0.2.1", "Choose another"]),
        (["--root-path", "demo"], ["--root-path", "/demo", "'demo'"]),
        (["--max-size", "20"], ["--max-size", "20mb", "'20'"]),
        (["--max-size", "0mb"], ["--max-size", "'0mb'"]),
        (["--max-size", "-1mb"], ["--max-size"]),
        (["--max-queue", "0"], ["--max-queue"]),
        (["--rate", "often"], ["--rate", "60/minute", "'often'"]),
        (["--rate", "0/minute"], ["--rate"]),
    ],
)
def test_a_bad_option_is_reported_in_one_sentence(run_script, words, parts):
    assert_one_sentence(run_script("app.py", "=".join(words)), *parts)


def test_a_port_in_use_is_reported(run_script, tiny_folder):
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


# A public link. Gradio gets the share server from the internet or from GRADIO_SHARE_SERVER_ADDRESS,
# and runs the program frpc, which it keeps under HF_HOME.


@pytest.fixture
def link_service(tmp_path):
    """`link_service("works")` returns an environment in which tests/support/frpc.py replaces frpc."""

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


def test_a_public_link_is_printed_and_leads_to_the_page(serve_app, tiny_folder, link_service):
    served = serve_app("--model", tiny_folder, "--share", **link_service("works"))
    assert served.next_line() == "Requesting a public link …"
    line = served.next_line()
    assert line.startswith("Public link, valid for a week: https://127.0.0.1:")
    public = line.rpartition(" ")[2].replace("https", "http")  # the real service adds the TLS
    assert httpx.get(public + "/config").status_code == 200
    code, errors = served.stop()
    assert code == 0 and errors == ""
    with pytest.raises(httpx.ConnectError):  # the tunnel is closed too
        httpx.get(public + "/config")


def assert_served_without_a_link(served, flower_photo):
    assert served.lines == [f"The page is at {served.url} (press Ctrl-C to stop)."]
    answer = Client(served.url, verbose=False).predict(
        handle_file(flower_photo), api_name="/identify"
    )
    assert answer["label"]
    code, errors = served.stop()
    assert code == 0
    (message,) = (line for line in errors.splitlines() if not line.startswith("{"))  # no log line
    assert "No public link" in message
    assert "training.publish MODEL user/repo --space user/demo" in message


def test_a_refused_link_is_reported_and_the_page_is_served(
    serve_app, tiny_folder, link_service, flower_photo
):
    # GRADIO_SHARE requests a link as --share does.
    served = serve_app("--model", tiny_folder, GRADIO_SHARE="True", **link_service("refuses"))
    assert_served_without_a_link(served, flower_photo)


def test_the_page_is_served_if_the_link_service_is_unreachable(
    serve_app, tiny_folder, flower_photo
):
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    served = serve_app("--model", tiny_folder, "--share", **nowhere, **NO_PROXY)
    assert_served_without_a_link(served, flower_photo)


def test_the_server_can_be_stopped_while_it_requests_a_link(
    serve_app, tiny_folder, link_service, tmp_path
):
    served = serve_app("--model", tiny_folder, "--share", **link_service("hangs"))
    assert served.next_line() == "Requesting a public link …"
    deadline = time.monotonic() + 60
    while not (tmp_path / "gradio" / "frpc" / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    served.process.send_signal(signal.SIGINT)
    start = time.monotonic()
    code, errors = served.stop()
    assert time.monotonic() - start < 3
    assert code == 0 and errors == ""
