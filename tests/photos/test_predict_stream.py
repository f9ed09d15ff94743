"""predict_stream: predictions and errors in order, in constant memory."""

import gc
import threading
import tracemalloc
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from flower_model import FlowerModelError, ImageError
from flower_model.photos.prefetch import prefetch_map
from tests.support.drawn import COLOURS, draw_photo


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Eleven photos; the second, the fifth and the last are unreadable."""
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


# Results


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_predictions_are_in_order_and_equal_to_single_ones(tiny_model, photos, batch_size):
    paths = readable(photos)
    answers = list(tiny_model.predict_stream(paths, top_k=2, batch_size=batch_size))
    assert len(answers) == len(paths)
    for path, answer in zip(paths, answers, strict=True):
        expected = tiny_model.predict(path, top_k=2)
        assert answer.label == expected.label and len(answer.top) == 2
        assert answer.probability == pytest.approx(expected.probability, abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_unreadable_photo_yields_its_error_at_its_position(tiny_model, photos, batch_size):
    answers = list(tiny_model.predict_stream(photos, batch_size=batch_size))
    assert len(answers) == len(photos)
    for number, message in ((1, "not a supported image"), (4, "truncated"), (10, "does not exist")):
        assert isinstance(answers[number], ImageError) and message in str(answers[number])
        assert str(photos[number]) in str(answers[number])
    assert sum(isinstance(answer, ImageError) for answer in answers) == 3


def test_unreadable_photos_only_yield_errors(tiny_model, tmp_path):
    answers = list(tiny_model.predict_stream(repeat(tmp_path / "nowhere.jpg", 5), batch_size=2))
    assert len(answers) == 5 and all(isinstance(answer, ImageError) for answer in answers)


def test_empty_input_yields_nothing(tiny_model):
    assert list(tiny_model.predict_stream([])) == []
    assert tiny_model.predict([]) == []


def test_list_returns_a_list_or_raises_its_first_error(tiny_model, photos):
    labels = [answer.label for answer in tiny_model.predict(readable(photos), batch_size=3)]
    assert labels == [tiny_model.predict(path).label for path in readable(photos)]
    with pytest.raises(ImageError, match="not a supported image"):
        tiny_model.predict(photos)
    assert not threads()


def test_same_undecoded_picture_can_be_passed_repeatedly(tiny_model, flower_photo):
    picture = Image.open(flower_photo)
    answers = tiny_model.predict([picture] * 20, batch_size=4)
    assert {answer.top for answer in answers} == {answers[0].top}


@pytest.mark.parametrize("number", [{"batch_size": 0}, {"top_k": 0}])
def test_numbers_below_one_are_rejected_immediately(tiny_model, number):
    with pytest.raises(FlowerModelError, match="at least 1"):
        tiny_model.predict_stream([], **number)


# Reading ahead


def test_nothing_is_consumed_or_started_before_the_first_next(tiny_model):
    taken = iter([1, 2, 3])
    tiny_model.predict_stream(taken)
    assert list(taken) == [1, 2, 3]
    assert not threads()


@pytest.mark.parametrize("batch_size", [1, 5])
def test_reads_ahead_fewer_than_three_batches(tiny_model, photos, batch_size):
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


def test_next_results_are_computed_while_one_is_in_use():
    made = threading.Event()
    results = prefetch_map(lambda number: made.set() if number == 1 else number, range(3), ahead=2)
    assert next(results) == 0
    assert made.wait(timeout=10)
    results.close()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_photos(tiny_model, photos):
    def peak(count):
        gc.collect()
        tracemalloc.start()
        for _ in tiny_model.predict_stream(repeat(photos[0], count), batch_size=4):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(20)  # one-time allocations
    assert (
        peak(100) <= peak(20) + 1_000_000
    )  # bytes; the pixels of 80 photos would take six times as many


# Shutdown and errors


@pytest.mark.parametrize("end", ["exhausted", "closed", "dropped"])
def test_no_thread_outlives_the_generator(tiny_model, photos, end):
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


def test_error_of_the_input_iterator_reaches_the_caller(tiny_model, photos):
    def interrupted():
        yield photos[0]
        raise RuntimeError("the folder is gone")

    with pytest.raises(RuntimeError, match="the folder is gone"):
        list(tiny_model.predict_stream(interrupted()))
    assert not threads()


def test_error_other_than_image_error_reaches_the_caller():
    def fail(number):
        raise RuntimeError(f"{number} failed")

    with pytest.raises(RuntimeError, match="0 failed"):
        list(prefetch_map(fail, range(50), ahead=4))
    assert not threads()


# Iterators that reuse their object


def test_array_that_an_iterator_reuses_gives_the_answer_to_each_photo(tiny_model, photos):
    pictures = [np.asarray(Image.open(path)) for path in readable(photos)]
    buffer = np.empty_like(pictures[0])

    def frames():
        for picture in pictures:
            buffer[:] = picture
            yield buffer

    answers = list(tiny_model.predict_stream(frames(), batch_size=4))
    assert [a.top for a in answers] == [a.top for a in tiny_model.predict(pictures, batch_size=4)]
    assert tiny_model.predict_plant(frames()).top == tiny_model.predict_plant(pictures).top


def test_frames_of_an_animation_are_refused_unless_copied(tiny_model, tmp_path):
    red, *others = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    red.save(tmp_path / "a.gif", save_all=True, append_images=others)
    with Image.open(tmp_path / "a.gif") as animation:
        with pytest.raises(ImageError, match="one picture for all frames: yield its copy"):
            list(tiny_model.predict_stream(ImageSequence.Iterator(animation)))
        copies = (frame.copy() for frame in ImageSequence.Iterator(animation))
        assert len(list(tiny_model.predict_stream(copies))) == 3
