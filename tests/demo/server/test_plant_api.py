"""Several photos of one plant by Gradio's API, REST and MCP."""

import base64

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from flower_model import FlowerClassifier
from tests.support.api_clients import call_tool

TOO_MANY = "Send between 1 and 5 photos, not 6."


@pytest.fixture(scope="module")
def expected(tiny_folder, flower_photo):
    """The answer to the photo, and to a plant of which it is sent twice."""
    return FlowerClassifier.from_pretrained(tiny_folder).predict(flower_photo)


def is_plant(answer, expected):
    return (
        answer["label"] == expected.label
        and answer["probability"] == pytest.approx(expected.probability, abs=0.005)
        and [photo["label"] for photo in answer["photos"]] == [expected.label] * 2
        and answer["disagreeing"] == answer["left_out"] == []
        and answer["copies"] == [1]
    )


def post(served, *photos):
    files = [("photos", (f"{number}.jpg", photo)) for number, photo in enumerate(photos)]
    return httpx.post(f"{served.url}api/identify_plant", files=files, timeout=60)


def test_gradio_gives_one_answer_for_all_photos(served, expected, flower_photo):
    client = Client(served.url, verbose=False)
    answer = client.predict([handle_file(flower_photo)] * 2, api_name="/identify_plant")
    assert is_plant(answer, expected)
    with pytest.raises(AppError, match=f"^{TOO_MANY}"):
        client.predict([handle_file(flower_photo)] * 6, api_name="/identify_plant")


def test_one_post_gives_one_answer_for_all_photos(served, expected, flower_photo):
    photo = flower_photo.read_bytes()
    response = post(served, photo, photo)
    assert response.status_code == 200 and is_plant(response.json(), expected)
    refused = post(served, *[photo] * 6)
    assert refused.status_code == 422 and refused.json() == {"detail": TOO_MANY}


def test_a_post_with_a_bad_photo_names_it_by_its_number(served, flower_photo):
    refused = post(served, flower_photo.read_bytes(), b"no photo")
    assert refused.status_code == 422 and refused.json()["detail"].startswith("Photo 2: ")


def test_the_request_is_documented(served):
    paths = httpx.get(f"{served.url}api/openapi.json").json()["paths"]
    body = paths["/api/identify_plant"]["post"]["requestBody"]["content"]
    assert body["multipart/form-data"]["schema"]["properties"]["photos"]["maxItems"] == 5
    assert "api/identify_plant" in httpx.get(f"{served.url}api").text


def test_an_mcp_client_gets_one_answer_for_all_photos(served, expected, flower_photo):
    text = base64.b64encode(flower_photo.read_bytes()).decode()
    _, result = call_tool(served, "identify_plant", photos=[text] * 2)
    assert is_plant(result.structuredContent, expected)
