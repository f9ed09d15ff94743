"""Downloads that fail for a local reason: the error message names that reason."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.support.commands import run
from tests.support.hub import REPO

pytestmark = pytest.mark.slow

SECRET = "hf_abcDEF123456789"


@pytest.fixture
def load_error(repo, tmp_path):
    """`load_error("token=True", HF_HUB_OFFLINE="1")` loads `REPO` in a fresh process, returns the error."""

    def load_error(options="", first="", **env):
        program = f"""
import resource
from flower_model import FlowerClassifier, HubError
{first}
try:
    FlowerClassifier.from_pretrained("{REPO}", {options})
except HubError as error:
    print(error)
"""
        result = run("-c", program, env=repo.environment(tmp_path / "home") | env)
        assert result.returncode == 0 and len(result.stdout.splitlines()) == 1, result.stderr
        assert len(result.stdout) <= 301 and SECRET not in result.stdout + result.stderr
        return result.stdout

    return load_error


@pytest.fixture
def plain_server() -> Iterator[str]:
    """A web server that is no Hub."""

    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def https_server(tmp_path) -> Iterator[str]:
    """A web server with a self-signed certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    try:
        subprocess.run(
            [*command, "-keyout", key, "-out", certificate], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_cache_folder_that_cannot_be_created(load_error, tmp_path):
    (tmp_path / "file").touch()
    message = load_error(HF_HUB_CACHE=str(tmp_path / "file" / "hub"))
    assert "cache (Not a directory)" in message and "HF_HOME" in message


def test_full_disk(load_error):
    message = load_error(first="resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))")
    assert "cache (File too large). Free some space" in message


def test_token_required_without_login(load_error):
    message = load_error("token=True")
    assert "no Hub login" in message


@pytest.mark.parametrize(
    ("options", "env"), [("", {"HF_HUB_OFFLINE": "1"}), ("local_files_only=True", {})]
)
def test_offline_without_cached_files(load_error, options, env):
    message = load_error(options, **env)
    assert "HF_HUB_OFFLINE or local_files_only forbids downloading it" in message


def test_token_without_read_access(hub, load_error):
    hub.refuse("HEAD", "config.json", status=403, times=50)
    message = load_error()
    assert "The Hub at" in message and "refused" in message and "write" not in message


@pytest.mark.parametrize("where", ["argument", "environment"])
@pytest.mark.parametrize("token", [SECRET, f"{SECRET}\n", f" {SECRET}\r\n"])
def test_unknown_token_is_reported(load_error, token, where):
    options, env = (f"token={token!r}", {}) if where == "argument" else ("", {"HF_TOKEN": token})
    message = load_error(options, **env)
    assert "rejected the token (Invalid credentials" in message and "hf auth login" in message


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (f"{SECRET} X", "rejected the token"),
        (f"{SECRET}é", "token has invalid characters"),
        (f"{SECRET}\x07", "rejected the token"),
    ],
)
def test_malformed_token_in_the_environment_is_not_shown(load_error, token, reason):
    assert reason in load_error(HF_TOKEN=token)


@pytest.mark.parametrize(
    ("env", "parts"),
    [
        ({"HTTP_PROXY": f"http://bob:{SECRET}@127.0.0.1:9"}, ["Connection refused", "HTTPS_PROXY"]),
        ({"ALL_PROXY": f"socks://bob:{SECRET}@127.0.0.1:9"}, ["Unknown scheme", "ALL_PROXY"]),
        ({"ALL_PROXY": "socks5://127.0.0.1:9"}, ["socksio", "ALL_PROXY"]),
    ],
)
def test_proxy_problems_are_reported(load_error, env, parts):
    message = load_error(**env, NO_PROXY="", no_proxy="")
    assert all(part in message for part in parts)


@pytest.mark.parametrize("path", ["/nowhere/ca.pem", "ca.pem"])
def test_missing_certificate_file_is_reported(load_error, path):
    message = load_error(SSL_CERT_FILE=path)
    assert "SSL_CERT_FILE names a file that does not exist" in message


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("127.0.0.1:9", "protocol"),
        ("ftp://127.0.0.1:9", "unsupported protocol"),
        ("http://127.0.0.1:9", "Connection refused"),
        ("http://hub.invalid", "Name or service not known"),
    ],
)
def test_wrong_endpoint_is_reported(load_error, endpoint, reason):
    message = load_error(HF_ENDPOINT=endpoint)
    assert reason in message and "HF_ENDPOINT" in message


def test_untrusted_certificate_is_reported(load_error, https_server):
    message = load_error(HF_ENDPOINT=https_server)
    assert "CERTIFICATE_VERIFY_FAILED" in message and "SSL_CERT_FILE" in message


def test_endpoint_that_is_not_a_hub_is_reported(load_error, plain_server):
    message = load_error(HF_ENDPOINT=plain_server)
    assert "404" in message


def test_gated_repository_is_reported(hub, load_error):
    hub.repos["model", REPO].gated = True
    assert "Accept its terms" in load_error()
