"""predict_stream: any number of photos, in order, in bounded memory, whatever is wrong with some."""

import gc
import threading
import tracemalloc
from itertools import islice, repeat
from pathlib import Path

import pytest
from PIL import Image

from flower_model import FlowerModelError, ImageError
from flower_model.photos.prefetch import map_ahead
from tests.support.drawn import COLOURS, draw_photo


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Eleven photos, of which the second, the fifth and the last can't be opened."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number:02}.png" for number in range(11)]
    for number, path in enumerate(paths):
        draw_photo(list(COLOURS.values())[number % 3], seed=number).save(path)
    paths[1].write_text("not a photo")
    paths[4].write_bytes(paths[4].read_bytes()[:-2000])
    paths[10].unlink()
    return paths


def readable(photos: list[Path]) -> list[Path]:
    return [path for number, path in enumerate(photos) if number not in (1, 4, 10)]


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "open-photo" in thread.name}


# What it answers


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_it_answers_in_order_as_one_photo_at_a_time_would(tiny_model, photos, batch_size):
    paths = readable(photos)
    answers = list(tiny_model.predict_stream(paths, top_k=2, batch_size=batch_size))
    assert len(answers) == len(paths)
    for path, answer in zip(paths, answers, strict=True):
        expected = tiny_model.predict(path, top_k=2)
        assert answer.label == expected.label and len(answer.top) == 2
        assert answer.probability == pytest.approx(expected.probability, abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_a_bad_photo_yields_its_error_in_its_place(tiny_model, photos, batch_size):
    answers = list(tiny_model.predict_stream(photos, batch_size=batch_size))
    assert len(answers) == len(photos)
    for number, message in ((1, "not a photo"), (4, "cut short"), (10, "There is no file")):
        assert isinstance(answers[number], ImageError) and message in str(answers[number])
        assert str(photos[number]) in str(answers[number])
    assert sum(isinstance(answer, ImageError) for answer in answers) == 3


def test_bad_photos_alone_yield_nothing_but_errors(tiny_model, tmp_path):
    answers = list(tiny_model.predict_stream(repeat(tmp_path / "nowhere.jpg", 5), batch_size=2))
    assert len(answers) == 5 and all(isinstance(answer, ImageError) for answer in answers)


def test_no_photos_yield_no_answers(tiny_model):
    assert list(tiny_model.predict_stream([])) == []
    assert tiny_model.predict([]) == []


def test_a_list_is_answered_by_a_list_or_by_its_first_error(tiny_model, photos):
    labels = [answer.label for answer in tiny_model.predict(readable(photos), batch_size=3)]
    assert labels == [tiny_model.predict(path).label for path in readable(photos)]
    with pytest.raises(ImageError, match="not a photo"):
        tiny_model.predict(photos)
    assert not threads()


def test_one_picture_may_be_given_many_times_before_it_is_decoded(tiny_model, flower_photo):
    picture = Image.open(flower_photo)
    answers = tiny_model.predict([picture] * 20, batch_size=4)
    assert {answer.top for answer in answers} == {answers[0].top}


@pytest.mark.parametrize("number", [{"batch_size": 0}, {"top_k": 0}])
def test_a_number_below_one_is_refused_at_once(tiny_model, number):
    with pytest.raises(FlowerModelError, match="at least 1"):
        tiny_model.predict_stream([], **number)


# What it takes, and when


def test_nothing_is_taken_or_started_before_an_answer_is_asked_for(tiny_model):
    taken = iter([1, 2, 3])
    tiny_model.predict_stream(taken)
    assert list(taken) == [1, 2, 3]
    assert not threads()


@pytest.mark.parametrize("batch_size", [1, 5])
def test_fewer_than_three_batches_are_taken_ahead(tiny_model, photos, batch_size):
    taken = 0

    def endless():
        nonlocal taken
        for path in repeat(photos[0]):
            taken += 1
            yield path

    stream = tiny_model.predict_stream(endless(), batch_size=batch_size)
    for yielded, _ in enumerate(islice(stream, 40), start=1):
        assert taken - yielded < 3 * batch_size
    stream.close()


def test_while_one_result_is_used_the_next_are_made():
    made = threading.Event()
    results = map_ahead(lambda number: made.set() if number == 1 else number, range(3), ahead=2)
    assert next(results) == 0
    assert made.wait(timeout=10)
    results.close()


def test_memory_does_not_grow_with_the_number_of_photos(tiny_model, photos):
    def peak(count):
        gc.collect()
        tracemalloc.start()
        for _ in tiny_model.predict_stream(repeat(photos[0], count), batch_size=4):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(20)  # what is made once
    assert peak(100) <= peak(20) + 1_000_000  # bytes; the pixels of 80 photos are six times as many


# How it ends


@pytest.mark.parametrize("end", ["exhausted", "closed", "dropped"])
def test_it_leaves_no_thread_behind(tiny_model, photos, end):
    stream = tiny_model.predict_stream(photos, batch_size=2)
    next(stream)
    assert threads()
    if end == "exhausted":
        list(stream)
    elif end == "closed":
        stream.close()
    else:
        del stream
        gc.collect()
    assert not threads()


def test_an_error_of_the_photos_generator_reaches_the_caller(tiny_model, photos):
    def interrupted():
        yield photos[0]
        raise RuntimeError("the folder is gone")

    with pytest.raises(RuntimeError, match="the folder is gone"):
        list(tiny_model.predict_stream(interrupted()))
    assert not threads()


def test_an_error_that_is_no_image_error_reaches_the_caller():
    def fail(number):
        raise RuntimeError(f"{number} failed")

    with pytest.raises(RuntimeError, match="0 failed"):
        list(map_ahead(fail, range(50), ahead=4))
    assert not threads()
