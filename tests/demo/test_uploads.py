"""Uploaded photos and zip archives are read in memory; a bad one does not affect the others."""

import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flower_model.demo.uploads import MAX_PHOTOS, open_uploads, read_upload
from flower_model.errors import FlowerModelError, ImageError
from flower_model.photos.sources import MAX_BYTES


def sent(path, name=""):
    """An uploaded file as Gradio passes it to a function."""
    return {
        "path": str(path),
        "orig_name": name or path.name,
        "meta": {"_type": "gradio.FileData"},
    }


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def contents(*files):
    """Return name -> bytes or error message."""
    found = {}
    with open_uploads(files) as photos:
        for photo in photos:
            try:
                found[photo.name] = photo.read()
            except ImageError as error:
                found[photo.name] = str(error)
    return found


def test_photos_and_zips_can_be_mixed(tmp_path, flower_photo):
    archive = zipped(tmp_path / "trip.zip", {"day 1/a.jpg": b"a", "day 2/b.jpg": b"b"})
    expected = {"x.jpg": flower_photo.read_bytes(), "day 1/a.jpg": b"a", "day 2/b.jpg": b"b"}
    assert contents(sent(flower_photo, "x.jpg"), sent(archive)) == expected


def test_a_member_name_with_parent_folders_writes_nothing(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    archive = zipped(folder / "evil.zip", {"../../out.jpg": b"x", "/out.jpg": b"y"})
    assert contents(sent(archive)) == {"../../out.jpg": b"x", "/out.jpg": b"y"}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


def test_only_regular_visible_members_are_listed(tmp_path):
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = zipped(tmp_path / "mac.zip", {"a.jpg": b"a", "__MACOSX/._a.jpg": b"", ".x": b""})
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr(link, "/etc/passwd")
        more.mkdir("folder")
    assert contents(sent(archive)) == {"a.jpg": b"a"}


def test_a_zip_bomb_is_refused_without_unpacking(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.jpg", b"\0" * 4_000_000)
    _fake_size(bomb, 4_000_000, 4_000_000_000)
    assert contents(sent(bomb)) == {
        "bomb.zip": "'bomb.zip' unpacks to more than 1 GB. Send it in parts."
    }


def test_the_size_limit_applies_to_all_zips_of_a_request(tmp_path):
    zips = [tmp_path / f"{number}.zip" for number in range(3)]
    for number, path in enumerate(zips):
        zipped(path, {f"{number}.jpg": b"\0" * 4_000_000})
        _fake_size(path, 4_000_000, 600_000_000 if number < 2 else 4_000_001)
    with open_uploads([sent(path) for path in zips]) as photos:
        assert [photo.name for photo in photos] == ["0.jpg", "1.zip", "2.jpg"]
        with pytest.raises(
            ImageError, match="'1.zip' and the archives before it unpack to more than"
        ):
            photos[1].read()


def test_a_member_larger_than_a_photo_is_not_read_to_its_end(tmp_path):
    big = b"\0" * (MAX_BYTES + 1)
    archive = zipped(tmp_path / "a.zip", {"big.jpg": big, "small.jpg": b"x"})
    found = contents(sent(archive))
    assert found["big.jpg"] == "'big.jpg' is larger than 100 MB. Reduce its size."
    assert found["small.jpg"] == b"x"


def test_a_damaged_zip_does_not_affect_other_files(tmp_path, flower_photo):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 and then nothing")
    found = contents(sent(broken), sent(flower_photo, "x.jpg"))
    assert found["broken.zip"] == "'broken.zip' is damaged or not a zip archive. Create it again."
    assert found["x.jpg"] == flower_photo.read_bytes()


def test_a_damaged_member_does_not_affect_other_members(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"bad.jpg": b"hello " * 1000, "good.jpg": b"x"})
    data = bytearray(archive.read_bytes())
    data[45:50] = b"\xff" * 5
    archive.write_bytes(data)
    found = contents(sent(archive))
    assert "can't be unpacked" in found["bad.jpg"] and found["good.jpg"] == b"x"


def test_an_empty_zip_is_reported(tmp_path):
    assert "contains no files" in contents(sent(zipped(tmp_path / "e.zip", {})))["e.zip"]


def test_too_many_photos_are_refused(tmp_path):
    archive = zipped(tmp_path / "a.zip", {f"{i}.jpg": b"x" for i in range(MAX_PHOTOS + 1)})
    refused = pytest.raises(FlowerModelError, match=f"at most {MAX_PHOTOS} photos")
    with refused, open_uploads([sent(archive)]):
        pass


@pytest.mark.parametrize(
    "file", [{"path": "/etc/passwd", "meta": {"_type": "x"}}, {"path": "x", "meta": 7}]
)
def test_a_file_that_was_not_uploaded_is_not_read(file):
    with pytest.raises(ImageError, match="did not arrive"):
        read_upload(file)


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ("a rose", "not text"),
        ("aGVsbG8=", "not text"),
        ("https://example.com/rose.jpg", "URLs are not fetched"),
        ({"url": "http://example.com/rose.jpg", "path": None}, "URLs are not fetched"),
        ({"photo": "rose.jpg"}, "not a JSON object"),
        ({"path": "/etc/passwd"}, "not a JSON object"),
        ({"path": "/etc/passwd", "meta": {}}, "not a JSON object"),
        ([1, 2], "not a list"),
        (7, "not a number"),
        (None, "not null"),
    ],
)
def test_input_that_is_not_a_file_is_refused_and_the_error_says_what_to_send(sent, problem):
    with pytest.raises(ImageError, match=problem) as refused:
        read_upload(sent)
    assert "curl -F photo=@photo.jpg" in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_base64_text_in_a_list_is_decoded(prefix):
    assert contents(prefix + "aGVsbG8=") == {"photo 1": b"hello"}


def test_a_url_in_a_list_is_not_fetched():
    requested = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        found = contents(f"http://127.0.0.1:{server.server_port}/secret.jpg")
    assert "URLs are not fetched" in found["photo 1"] and requested == []


def _fake_size(path, size, other):
    data = path.read_bytes().replace(size.to_bytes(4, "little"), other.to_bytes(4, "little"))
    path.write_bytes(data)
