"""Photos as users pass them: accepted, or rejected with one short sentence that fits."""

import base64
import io
import socket
import subprocess
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flower_model import ImageError
from flower_model.photos.decode import open_image
from tests.photos.test_decode import encoded

RED = (255, 0, 0)


@pytest.fixture(scope="module")
def png() -> bytes:
    return encoded(Image.new("RGB", (30, 20), RED))


def message_of(source: object) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(source)
    message = str(caught.value)
    assert len(message) <= 300 and len(message.splitlines()) == 1
    return message


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


# Accepted


@pytest.mark.parametrize(
    "wrap",
    [bytes, bytearray, memoryview, io.BytesIO, lambda data: io.BufferedReader(io.BytesIO(data))],
    ids=["bytes", "bytearray", "memoryview", "BytesIO", "BufferedReader"],
)
def test_encoded_photos_in_memory_are_opened(png, wrap):
    assert open_image(wrap(png)).getpixel((0, 0)) == RED


@pytest.mark.parametrize("wrap", [str, Path, PathLike], ids=["str", "Path", "os.PathLike"])
def test_paths_are_opened(png, wrap, tmp_path):
    (tmp_path / "photo").write_bytes(png)
    assert open_image(wrap(tmp_path / "photo")).size == (30, 20)


def test_open_files_are_read_and_stay_open(png, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(png)
    with path.open("rb") as file, tempfile.TemporaryFile() as temporary:
        temporary.write(png)
        for source in (file, temporary):
            assert open_image(source).size == (30, 20)
            assert not source.closed


def test_buffer_that_was_just_written_is_read_from_its_start():
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "JPEG")
    assert open_image(buffer).size == open_image(buffer).size == (30, 20)


def test_file_object_that_can_not_seek_is_read(png, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.png", png)

    class Stream:
        def __init__(self, file):
            self.read = file.read

    with zipfile.ZipFile(tmp_path / "photos.zip") as archive, archive.open("photo.png") as member:
        assert open_image(Stream(member)).size == (30, 20)


def test_same_file_object_can_be_passed_repeatedly(tiny_model, png):
    answers = tiny_model.predict([io.BytesIO(png)] * 3 + [file := io.BytesIO(png), file, file])
    assert len({answer.top for answer in answers}) == 1


# Rejected


def test_closed_pictures_are_rejected(png):
    never_loaded = Image.open(io.BytesIO(png))
    never_loaded.close()
    with Image.open(io.BytesIO(png)) as in_with_block:
        pass
    loaded = Image.new("RGB", (4, 4))
    loaded.close()
    for picture in (never_loaded, in_with_block, loaded):
        assert "closed" in message_of(picture)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP"])
def test_pictures_with_a_truncated_file_are_rejected(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert "truncated" in message_of(Image.open(io.BytesIO(data[: len(data) // 2])))


def test_pictures_without_pixels_are_rejected():
    for picture in (Image.Image(), Image.new("RGB", (0, 4)), Image.new("L", (4, 0))):
        assert "no pixels" in message_of(picture)


@pytest.mark.parametrize("size", [150, 30_000])
def test_base64_is_named(size):
    text = base64.b64encode(np.random.default_rng(0).bytes(size))
    for source in (text, text.decode(), base64.urlsafe_b64encode(text), base64.encodebytes(text)):
        assert "base64" in message_of(source)


@pytest.mark.parametrize("start", ["data:image/png;base64,", "data:,", "data:image/svg+xml,<svg>"])
def test_data_urls_are_named(start, png):
    url = start + base64.b64encode(png * 100).decode()
    assert "data URL" in message_of(url)
    assert "data URL" in message_of(url.encode())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"\n<!DOCTYPE html>\n<title>Rose</title>", "web page"),
        (b"<html><body>404", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    ],
)
def test_text_saved_as_a_photo_is_named(tmp_path, text, part):
    (tmp_path / "rose.jpg").write_bytes(text)
    assert part in message_of(tmp_path / "rose.jpg")


def test_file_object_opened_for_writing_is_rejected(tmp_path):
    with (tmp_path / "new.jpg").open("wb") as file:
        assert "mode 'rb'" in message_of(file)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/rose.jpg",
        "HTTP://EXAMPLE.ORG/",
        "file:///home/me/rose.jpg",
        "s3://bucket/rose.jpg",
        "https://example.org/?" + "q" * 5000,
    ],
)
def test_urls_are_not_downloaded(url):
    assert "is a URL" in message_of(url)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("rose.jpg", "'rose.jpg' does not exist"),
        ("a/" * 2000 + "rose.jpg", "rose.jpg"),
        ("Rosen " * 200 + ".jpg", "File name too long"),
        ("rose\0.jpg", "null"),
        ("", "path is empty"),
    ],
    ids=["missing", "many folders", "long name", "NUL", "empty"],
)
def test_paths_that_can_not_be_read_are_shortened_and_explained(path, part):
    assert part in message_of(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, 8, 8),
        torch.zeros(8, 8, 3, dtype=torch.uint8),
        torch.zeros(1, requires_grad=True),
    ],
    ids=["float", "uint8", "with gradient"],
)
def test_tensors_are_rejected_by_type(tensor):
    message = message_of(tensor)
    assert "not Tensor" in message and "array" in message


@pytest.mark.parametrize(
    "source", [["a.jpg"], ("a.jpg",), {"a.jpg"}, {"path": "a.jpg"}, iter("ab")]
)
def test_collections_in_place_of_a_photo_are_rejected(source):
    assert "as a list" in message_of(source)


@pytest.mark.parametrize(
    "source",
    [None, 3, 2.5, object(), Image.Image],
    ids=["None", "int", "float", "object", "class"],
)
def test_other_types_are_named(source):
    assert f"not {type(source).__name__}" in message_of(source)


def test_file_objects_in_text_mode_are_rejected(png, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(png)
    with path.open() as file, tempfile.TemporaryFile("w+") as temporary:
        for source in (file, temporary, io.StringIO("text")):
            assert "must be binary" in message_of(source)


def test_file_objects_that_can_not_be_read_are_rejected(png, tmp_path):
    closed = io.BytesIO(png)
    closed.close()
    assert "closed file" in message_of(closed)
    with (tmp_path / "new.png").open("wb") as written:
        assert "read" in message_of(written)
    assert "is empty" in message_of(io.BytesIO())


# Errors in lists


def test_error_in_a_list_names_the_index(tiny_model, png):
    for index, bad in enumerate([None, b"text", "https://example.org/a.jpg", np.zeros(3)]):
        photos = [png] * index + [bad, png, None]
        with pytest.raises(ImageError, match=rf"^photos\[{index}\]: "):
            tiny_model.predict(photos, batch_size=2)


def test_error_of_a_single_photo_has_no_index(tiny_model):
    with pytest.raises(ImageError, match=r"^'rose.jpg' does not exist"):
        tiny_model.predict("rose.jpg")


# One photo where several are expected


@pytest.mark.parametrize("method", ["predict_plant", "predict_stream"])
def test_one_photo_by_itself_is_refused_where_several_are_expected(
    tiny_model, png, tmp_path, method
):
    (tmp_path / "a.png").write_bytes(png)
    picture = Image.open(tmp_path / "a.png")
    pixels = np.asarray(picture)
    path = tmp_path / "a.png"
    for photo in (pixels, pixels[..., 0], picture, path, str(path), png, io.BytesIO(png)):
        with pytest.raises(ImageError, match="not one photo by itself: pass a list"):
            getattr(tiny_model, method)(photo)


def test_arrays_of_photos_or_paths_are_several(tiny_model, png, tmp_path):
    (tmp_path / "a.png").write_bytes(png)
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    for photos in (np.stack([pixels, pixels]), np.array([f"{tmp_path}/a.png"] * 2)):
        assert len(tiny_model.predict_plant(photos).photos) == 2


# Unbuffered streams


@pytest.fixture(scope="module")
def noise() -> Image.Image:
    """A picture whose file is larger than the buffer of a pipe."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))


@pytest.mark.slow
def test_unbuffered_pipe_is_read_to_its_end(noise, tmp_path):
    noise.save(tmp_path / "noise.png")
    words = ["cat", tmp_path / "noise.png"]
    with subprocess.Popen(words, bufsize=0, stdout=subprocess.PIPE) as process:
        assert open_image(process.stdout) == noise


def test_unbuffered_socket_is_read_to_its_end(noise):
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor() as pool:
        pool.submit(lambda: (theirs.sendall(encoded(noise)), theirs.shutdown(socket.SHUT_WR)))
        assert open_image(ours.makefile("rb", 0)) == noise
