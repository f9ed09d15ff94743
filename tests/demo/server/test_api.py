"""The API for gradio_client, curl and MCP clients returns what FlowerClassifier.predict returns."""

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
from tests.support.api_clients import call, call_tool, result


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
    """The answer of /identify to the photo."""
    return FlowerClassifier.from_pretrained(tiny_folder).predict(flower_photo).to_dict()


# gradio_client


def test_identify_returns_the_prediction(client, expected, flower_photo):
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


def test_only_three_endpoints_are_public_and_their_types_are_documented(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(endpoints) == ["/identify", "/identify_many", "/identify_plant"]
    (result,) = endpoints["/identify"]["returns"]
    assert set(result["type"]["properties"]) == {
        *("label", "botanical_name", "probability", "genus", "family"),
        *("flower_probability", "is_flower", "known_probability", "is_known", "top"),
    }
    assert endpoints["/identify"]["description"] == "Identify the flower in a photo."


def test_an_unreadable_photo_is_reported(client, not_a_photo):
    with pytest.raises(AppError, match="^The file is not a supported image"):
        client.predict(handle_file(not_a_photo), api_name="/identify")


def test_a_truncated_photo_is_reported(client, flower_photo, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(flower_photo.read_bytes()[:20_000])
    with pytest.raises(AppError, match="damaged or truncated"):
        client.predict(handle_file(cut), api_name="/identify")


def test_a_bad_photo_does_not_affect_photos_of_the_same_batch(
    served, expected, flower_photo, not_a_photo
):
    photos = [flower_photo, not_a_photo] * 8
    # One client each: a client may close its result stream just when it sends the next request.
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
def test_a_file_that_was_not_uploaded_is_not_read(served, mark):
    called = httpx.post(
        served.url + "gradio_api/call/identify", json={"data": [{"path": "app.py", **mark}]}
    )
    assert called.status_code == 400
    assert called.json() == {"detail": "The photo did not arrive. Send it again."}


@pytest.mark.parametrize(("sent", "kind"), [(None, "null"), (5, "a number"), ({}, "a JSON object")])
def test_something_else_in_place_of_a_list_of_photos_is_named(served, sent, kind):
    def ask(endpoint):
        event = call(served.url, sent, endpoint=endpoint).json()["event_id"]
        return result(served.url, event, endpoint)

    state, answer = ask("identify_plant")
    assert state == "error" and f"A photo is needed, not {kind}." in answer["error"]
    state, [[row]] = ask("identify_many")
    assert state == "complete" and f"A photo is needed, not {kind}." in row["error"]


# curl, in Gradio's three steps


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


# REST


def post_photo(served, **options):
    return httpx.post(f"{served.url}api/identify", timeout=60, **options)


@pytest.mark.parametrize("kind", ["form", "image/jpeg", "application/x-www-form-urlencoded", ""])
def test_one_post_with_a_photo_returns_its_answer(served, expected, flower_photo, kind):
    photo = flower_photo.read_bytes()
    if kind == "form":
        response = post_photo(served, files={"photo": ("a.jpg", photo)})
    else:
        headers = {"Content-Type": kind} if kind else {}
        response = post_photo(served, content=photo, headers=headers)
    assert response.status_code == 200 and response.json() == expected
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("request_body", "problem"),
    [
        ({"content": b"a rose"}, "not text"),
        ({"content": b"https://example.com/rose.jpg"}, "URLs are not fetched"),
        ({"json": {"photo": "aGVsbG8="}}, "not JSON"),
        ({"json": ["a"]}, "not JSON"),
        ({"data": {"photo": "photo.jpg"}}, "not text"),
        ({"data": {"a": "b"}, "files": {}}, "not text"),
        ({"content": base64.b64encode(b"hello" * 99)}, "not text"),
        ({"content": b""}, "empty"),
        ({"content": b"\xff\xd8\xff\xe0 and nothing"}, "supported image"),
    ],
)
def test_a_request_without_a_photo_is_refused_in_one_sentence(served, request_body, problem):
    response = post_photo(served, **request_body)
    assert response.status_code == 422
    message = response.json()["detail"]
    assert problem in message and len(message) < 300
    if "not" in problem:
        assert "curl -F photo=@photo.jpg" in message


@pytest.mark.parametrize("content", ["a rose", '<svg xmlns="http://www.w3.org/2000/svg"/>', "{}"])
@pytest.mark.parametrize("endpoint", ["identify", "identify_plant"])
def test_a_file_that_is_not_a_photo_gets_a_visitor_s_sentence(served, content, endpoint):
    files = {"photos": ("a.txt", content.encode())}
    response = httpx.post(f"{served.url}api/{endpoint}", files=files, timeout=60)
    assert response.status_code == 422
    message = response.json()["detail"]
    assert "The file is not a supported image" in message and "curl" not in message


def test_a_form_field_without_a_file_is_refused(served):
    body = b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\nrose.jpg\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = post_photo(served, content=body, headers=headers)
    assert response.status_code == 422 and "contains no file" in response.json()["detail"]


def test_a_malformed_form_is_refused(served):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post_photo(served, content=b"nonsense", headers=headers).status_code in (400, 422)


@pytest.mark.parametrize("endpoint", ["identify", "identify_plant"])
def test_a_get_is_told_to_post(served, endpoint):
    refused = httpx.get(f"{served.url}api/{endpoint}")
    assert refused.status_code == 405 and refused.headers["Allow"] == "POST"
    assert refused.json() == {"detail": "Send the photo by POST. See /api."}


def test_the_rest_api_is_documented(served):
    page = httpx.get(f"{served.url}api")
    assert f"curl -F photo=@photo.jpg {served.url}api/identify" in page.text
    assert "http" not in page.text.replace(served.url, "").replace("httpx", "")  # loads nothing
    operation = httpx.get(f"{served.url}api/openapi.json").json()["paths"]["/api/identify"]["post"]
    assert "multipart/form-data" in operation["requestBody"]["content"]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["$ref"].endswith("/PredictionDict")


# MCP


def as_text(path):
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_an_mcp_client_finds_the_tool_and_gets_the_same_answer(served, expected, flower_photo):
    listed, result = call_tool(served, "identify", photo=as_text(flower_photo))
    tools = {tool.name: tool for tool in listed.tools}
    assert set(tools) == {"identify", "identify_many", "identify_plant"}
    assert tools["identify"].description.startswith("Identify the flower in a photo.")
    assert not result.isError
    assert json.loads(result.content[0].text) == result.structuredContent == expected


def test_an_mcp_client_can_send_many_photos(served, expected, flower_photo):
    photos = [as_text(flower_photo), "data:image/jpeg;base64,aGVsbG8=", "no address"]
    _, result = call_tool(served, "identify_many", photos=photos)
    first, bad, text = result.structuredContent["result"]
    assert first["answer"] == expected
    assert "not a supported image" in bad["error"] and "The text is not a photo" in text["error"]


def test_an_mcp_client_learns_what_is_wrong(served):
    _, result = call_tool(served, "identify", photo="data:image/jpeg;base64,aGVsbG8=")
    assert result.isError and "not a supported image" in result.content[0].text
