"""Names of Hub repositories, and tokens that never appear in messages."""

import pytest

from flower_model.errors import HubError, ModelError
from flower_model.hub.errors import redact
from flower_model.hub.source import HubSource

SECRET = "hf_abcDEF123456789"


@pytest.mark.parametrize(
    ("name", "revision"),
    [
        ("flora/meadow", None),
        ("flora/meadow@v1", "v1"),
        ("hf-hub:flora/meadow", None),
        ("hf-hub:flora/meadow@refs/pr/1", "refs/pr/1"),
        ("hf_hub:flora/meadow@main", "main"),
        ("hf://flora/meadow@0123abc", "0123abc"),
        ("https://huggingface.co/flora/meadow", None),
        ("https://huggingface.co/flora/meadow/tree/v1", "v1"),
        ("https://hf.co/flora/meadow/blob/main/config.json", "main"),
        ("https://huggingface.co/flora/meadow/resolve/v1/model.safetensors?download=true", "v1"),
    ],
)
def test_spellings_of_a_repository(name, revision):
    assert HubSource.parse(name) == HubSource("flora/meadow", revision)


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "hf-hub:resnet50",
        "hf-hub:flora/meadow/config.json",
        "C:\\models\\meadow",
        "https://example.com/flora/meadow",
        "https://example.com/model.safetensors",
        "https://huggingface.co/flora",
        "https://huggingface.co/datasets/flora/meadow",
        "https://huggingface.co/flora/meadow/discussions/1",
        "hf://datasets/flora/meadow",
        "s3://bucket/model",
        "flora/mea dow",
        "",
        "x" * 10_000,
        f"https://flora:{SECRET}@example.com/meadow",
    ],
)
def test_other_names_are_refused_in_one_sentence(name):
    with pytest.raises(ModelError, match="neither a model folder nor") as caught:
        HubSource.parse(name)
    assert len(str(caught.value)) <= 300 and SECRET not in str(caught.value)


def test_two_different_revisions_are_refused():
    assert HubSource.parse("flora/meadow@v1", revision="v1").revision == "v1"
    with pytest.raises(ModelError, match="disagree"):
        HubSource.parse("flora/meadow@v1", revision="v2")


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\t"])
def test_tokens_are_stripped_of_whitespace(space):
    assert HubSource("flora/meadow", token=f"{space}{SECRET}{space}").token == SECRET
    assert HubSource("flora/meadow", token=space).token is None


@pytest.mark.parametrize(
    "token", [f"{SECRET} {SECRET}", f"{SECRET}\nX", f"“{SECRET}”", SECRET + "…"]
)
def test_malformed_tokens_are_refused_without_showing_them(token):
    with pytest.raises(HubError, match="invalid characters") as caught:
        HubSource("flora/meadow", token=token)
    assert SECRET not in str(caught.value)


def test_tokens_are_not_in_the_representation_of_a_source():
    assert SECRET not in repr(HubSource("flora/meadow", token=SECRET))


@pytest.mark.parametrize(
    "message",
    [
        f"Illegal header value b'Bearer {SECRET}\\n'",
        f"Invalid user token {SECRET}.",
        f"Connection to http://flora:{SECRET}@proxy:8080 refused",
        f"https://{SECRET}@huggingface.co/flora/meadow",
        f"token=%0A{SECRET}",
        "http://bob:geheim@proxy/ and http://geheim@proxy/",
        "Illegal header value b'Bearer geheim'",
    ],
)
def test_secrets_are_redacted(message):
    shown = redact(message, SECRET)
    assert SECRET not in shown and SECRET not in redact(message) and "geheim" not in shown


@pytest.mark.parametrize("message", ["hf_hub:flora/meadow", "[Errno 111] Connection refused"])
def test_messages_without_secrets_are_unchanged(message):
    assert redact(message, SECRET) == message


def test_home_folder_in_cache_dir_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/flora")
    assert HubSource("flora/meadow", cache_dir="~/models").cache_dir == "/home/flora/models"
