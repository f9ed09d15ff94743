"""What a page refuses, so that it goes on answering: in one sentence, with when to try again."""

import threading
import time

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError
from limits import parse

from flower_model import FlowerClassifier
from tests.support.asking import ask, call, file, join, result, upload


@pytest.fixture
def photo(flower_photo):
    return flower_photo.read_bytes()


def test_a_full_queue_refuses_politely_and_goes_on(open_page_under, find, photo):
    url, _ = open_page_under(queue=2)
    (path,) = upload(url, photo).json()
    client = Client(url, verbose=False)
    find.go_on.clear()
    taken = []
    while (called := call(url, file(path))).status_code == 200:
        taken.append(called.json()["event_id"])
        assert len(taken) < 50
    assert called.status_code == 503 and int(called.headers["Retry-After"]) > 0
    assert called.json() == {
        "detail": "Too many people are asking just now: try again in a few seconds."
    }
    with pytest.raises(QueueError, match="Queue is full! Please try again."):
        client.predict(handle_file("README.md"), api_name="/identify")
    find.go_on.set()
    assert {result(url, event)[0] for event in taken} == {"complete"}
    assert ask(url, photo)[0] == "complete"


def test_a_full_queue_is_told_on_the_page(open_page_under, find, open_page, flower_photo):
    url, _ = open_page_under(queue=1)
    (path,) = upload(url, flower_photo.read_bytes()).json()
    page = open_page(url)
    find.go_on.clear()
    while call(url, file(path)).status_code == 200:
        pass
    page.set_input_files("#photo input[type=file]", str(flower_photo))
    page.get_by_text("This application is currently busy. Please try again.").first.wait_for()


def test_who_asks_too_often_is_told_when_to_come_again(open_page_under, photo):
    url, _ = open_page_under(rate=parse("3/minute"), everyone=True)
    one, other = {"X-Forwarded-For": "198.51.100.1"}, {"X-Forwarded-For": "198.51.100.2"}
    for _ in range(3):
        assert ask(url, photo, headers=one)[0] == "complete"
    refused = upload(url, photo, headers=one)
    wait = int(refused.headers["Retry-After"])
    assert refused.status_code == 429 and 1 <= wait <= 120
    sentence = f"You ask faster than this page can answer everybody: try again in {wait} s."
    assert refused.text == sentence
    refused = call(url, None, headers=one)
    assert refused.status_code == 429 and "try again in" in refused.json()["detail"]
    assert ask(url, photo, headers=other)[0] == "complete"


def test_the_page_tells_who_asks_too_often(open_page_under, open_page, flower_photo):
    url, _ = open_page_under(rate=parse("1/hour"), everyone=True)
    page = open_page(url)
    page.set_input_files("#photo input[type=file]", str(flower_photo))
    page.locator("#answer h2").wait_for()
    page.get_by_label("Remove Image").click()
    page.get_by_text("You ask faster than this page can answer everybody").first.wait_for()


def test_by_default_this_computer_may_ask_as_often_as_it_likes(open_page_under, photo):
    url, _ = open_page_under(rate=parse("1/hour"))
    assert [ask(url, photo)[0] for _ in range(3)] == ["complete"] * 3
    far = {"X-Forwarded-For": "2001:db8::1"}
    assert ask(url, photo, headers=far)[0] == "complete"
    neighbour = {"X-Forwarded-For": "2001:db8::2"}  # of the same visitor
    assert upload(url, photo, headers=neighbour).status_code == 429


def test_an_ipv4_address_written_as_ipv6_is_the_same_visitor(open_page_under, photo):
    url, _ = open_page_under(rate=parse("1/hour"))
    one, other = "::ffff:198.51.100.1", "::ffff:198.51.100.2"
    for visitor in (one, other, *["::ffff:127.0.0.1"] * 3):
        assert ask(url, photo, headers={"X-Forwarded-For": visitor})[0] == "complete"
    assert upload(url, photo, headers={"X-Forwarded-For": "198.51.100.1"}).status_code == 429


def test_the_page_and_its_api_answer_sixteen_photos_at_once_together(open_page_under, find, photo):
    url, _ = open_page_under()
    (path,) = upload(url, photo).json()
    find.go_on.clear()
    for _ in range(20):
        join(url, "show_answer", file(path))
        call(url, file(path))
    assert _settled(find.asked, 16) == 16


def test_the_page_and_its_api_answer_two_questions_of_many_photos_together(
    launch, tiny_model, photo
):
    inside, go_on = [], threading.Event()

    class Held:
        """The model's runtime, once it may go on."""

        name, data_config = tiny_model.runtime.name, tiny_model.runtime.data_config

        def __call__(self, pixels):
            inside.append(1)
            assert go_on.wait(60)
            return tiny_model.runtime(pixels)

    model = FlowerClassifier(tiny_model.network, tiny_model.config, runtime=Held())
    url = launch(model, "tiny")
    (path,) = upload(url, photo).json()
    for _ in range(4):
        join(url, "name_photos", [file(path)])
        call(url, [file(path)], endpoint="identify_many")
    assert _settled(inside, 2) == 2
    go_on.set()


def test_too_much_in_one_go_is_refused_and_not_kept(open_page_under, photo):
    url, folder = open_page_under(max_bytes=300_000)

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
            "This is over the maximum allowed size of 0.3 MB in one go: send it in parts."
        )
    assert [path for path in folder.rglob("*") if b"x" * 99 in _bytes(path)] == []


def test_a_question_of_many_megabytes_is_refused(served):
    for route in ("call/identify", "queue/join", "cancel", "mcp/"):
        refused = httpx.post(f"{served.url}gradio_api/{route}", content=b" " * 41_000_000)
        assert refused.status_code == 413, route
        assert refused.json() == {"detail": "The question is too long: send photos by the upload."}


def _bytes(path):
    return path.read_bytes() if path.is_file() else b""


def _settled(inside, expected):
    """How many there are a second after they are as many as expected, or after a minute."""
    deadline = time.monotonic() + 60
    while len(inside) < expected and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    return len(inside)
