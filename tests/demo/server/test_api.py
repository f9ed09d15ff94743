"""For programs: gradio_client, curl and an MCP client get what FlowerClassifier.predict says."""

import ast
import base64
import json
import shutil
import subprocess
import zipfile
from itertools import pairwise

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from flower_model import FlowerClassifier
from tests.conftest import BOTANICAL
from tests.support.asking import call_tool


@pytest.fixture(scope="module")
def client(served):
    return Client(served.url, verbose=False)


@pytest.fixture
def not_a_photo(tmp_path):
    path = tmp_path / "<b>rose.jpg"
    path.write_text("<b>no photo</b>")
    return path


@pytest.fixture(scope="module")
def expected(tiny_folder, flower_photo):
    """The answer to the photo as /identify words it."""
    answer = FlowerClassifier.from_pretrained(tiny_folder).predict(flower_photo)
    return {**answer.to_dict(), "botanical_name": BOTANICAL[answer.label]}


# gradio_client


def test_identify_says_what_predict_says(client, expected, flower_photo):
    assert client.predict(handle_file(flower_photo), api_name="/identify") == expected
    probabilities = [guess["probability"] for guess in expected["top"]]
    assert len(probabilities) == 5
    assert all(first >= second for first, second in pairwise(probabilities))


def test_identify_many_answers_each_photo_in_order(
    client, expected, flower_photo, not_a_photo, tmp_path
):
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(flower_photo, "trip/1.jpg")
    files = [handle_file(path) for path in (flower_photo, not_a_photo, archive)]
    first, bad, last = client.predict(files, api_name="/identify_many")
    assert first == {"photo": "dahlia.jpg", "answer": expected, "error": None}
    assert bad["answer"] is None and "not a supported image" in bad["error"]
    assert last == {"photo": "trip/1.jpg", "answer": expected, "error": None}


def test_these_two_are_the_only_endpoints_and_have_documented_types(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(endpoints) == ["/identify", "/identify_many"]
    (result,) = endpoints["/identify"]["returns"]
    assert set(result["type"]["properties"]) == {
        *("label", "botanical_name", "probability", "flower_probability", "is_flower", "top")
    }
    assert endpoints["/identify"]["description"] == "Names the flower in a photo."


def test_a_program_is_told_what_is_wrong_with_its_photo(client, not_a_photo):
    with pytest.raises(AppError, match="^The file is not a supported image"):
        client.predict(handle_file(not_a_photo), api_name="/identify")


def test_a_photo_that_is_cut_short_is_refused(client, flower_photo, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(flower_photo.read_bytes()[:20_000])
    with pytest.raises(AppError, match="damaged or truncated"):
        client.predict(handle_file(cut), api_name="/identify")


def test_a_bad_photo_does_not_spoil_those_that_come_with_it(
    served, expected, flower_photo, not_a_photo
):
    photos = [flower_photo, not_a_photo] * 8
    # One client each: a client may close its stream of answers just when it asks the next question.
    clients = [Client(served.url, verbose=False) for _ in photos]
    jobs = [
        client.submit(handle_file(photo), api_name="/identify")
        for client, photo in zip(clients, photos, strict=True)
    ]
    for photo, job in zip(photos, jobs, strict=True):
        if photo == not_a_photo:
            assert "not a supported image" in str(job.exception())
        else:
            answer = job.result()
            assert answer["label"] == expected["label"]
            assert answer["probability"] == pytest.approx(expected["probability"], abs=0.02)


@pytest.mark.parametrize("mark", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_a_file_of_the_server_that_was_not_uploaded_is_not_read(served, mark):
    called = httpx.post(
        served.url + "gradio_api/call/identify", json={"data": [{"path": "app.py", **mark}]}
    )
    assert called.status_code == 400
    assert called.json() == {"detail": "The photo did not arrive: send it again."}


# curl, in the three steps that the README shows


def test_curl_gets_the_same_answer(served, expected, flower_photo):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")

    def curl(*words):
        return subprocess.run(
            ["curl", "-sS", *words], check=True, capture_output=True, text=True
        ).stdout

    api = served.url + "gradio_api"
    (path,) = json.loads(curl("-F", f"files=@{flower_photo}", f"{api}/upload"))
    data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
    as_json = ["-H", "Content-Type: application/json", "-d", json.dumps(data)]
    event = json.loads(curl(*as_json, f"{api}/call/identify"))["event_id"]
    lines = curl("-N", f"{api}/call/identify/{event}").splitlines()
    assert lines[0] == "event: complete"
    assert json.loads(lines[1].removeprefix("data: ")) == [expected]


# MCP


def as_text(path):
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_an_mcp_client_finds_the_tool_and_gets_the_same_answer(served, expected, flower_photo):
    listed, said = call_tool(served, "identify", photo=as_text(flower_photo))
    tools = {tool.name: tool for tool in listed.tools}
    assert set(tools) == {"identify", "identify_many"}
    assert tools["identify"].description.startswith("Names the flower in a photo.")
    assert not said.isError
    assert ast.literal_eval(said.content[0].text) == expected


def test_an_mcp_client_can_send_many_photos(served, expected, flower_photo):
    photos = [as_text(flower_photo), "data:image/jpeg;base64,aGVsbG8=", "no address"]
    _, said = call_tool(served, "identify_many", photos=photos)
    first, bad, nothing = ast.literal_eval(said.content[0].text)
    assert first["answer"] == expected
    assert "not a supported image" in bad["error"] and "did not arrive" in nothing["error"]


def test_an_mcp_client_is_told_what_is_wrong(served):
    _, said = call_tool(served, "identify", photo="data:image/jpeg;base64,aGVsbG8=")
    assert said.isError and "not a supported image" in said.content[0].text
