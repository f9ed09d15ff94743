"""Names of zip members are readable whatever system and encoding the archive comes from."""

import struct
import unicodedata
import zipfile
import zlib

import pytest

from flower_model.demo.zip_names import readable_names


def archive_with(path, names, encoding, flag=0, extra=lambda raw: b""):
    """Write a zip archive whose member names are encoded as given."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            raw = name.encode(encoding)
            member = zipfile.ZipInfo(f"{number:0{len(raw)}}"[: len(raw)])
            member.extra = extra(raw)
            archive.writestr(member, b"x")
    data = path.read_bytes()
    for number, name in enumerate(names):
        raw = name.encode(encoding)
        data = data.replace(f"{number:0{len(raw)}}"[: len(raw)].encode(), raw)
    if flag:
        for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            start = 0
            while (start := data.find(signature, start)) >= 0:
                at = start + offset
                data = data[:at] + struct.pack("<H", flag) + data[at + 2 :]
                start += 4
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        return readable_names(archive.infolist())


NAMES = {
    "Chinese": ["荷花照片/牡丹花.jpg", "荷花照片/菊花二.jpg", "桃花林.jpg"],
    "Japanese": ["写真フォルダ/桜とバラ.jpg", "ひまわり畑.jpg", "チューリップ.jpg"],
    "German": ["Gärten im März/Gänseblümchen.jpg", "Möwenrose.jpg", "Hüttenblume groß.jpg"],
    "French": ["été fleuri/pensée.jpg", "œillet à côté.jpg".replace("œ", "oe"), "château.jpg"],
    "Spanish": ["jardín/piñón en otoño.jpg", "orquídea.jpg"],
}


@pytest.mark.parametrize("language", NAMES)
@pytest.mark.parametrize("flag", [0, 0x800], ids=["without the flag", "with the flag"])
def test_utf8_names_with_and_without_the_flag(tmp_path, language, flag):
    assert archive_with(tmp_path / "a.zip", NAMES[language], "utf-8", flag) == NAMES[language]


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("Chinese", "gbk"),
        ("Japanese", "cp932"),
        ("German", "cp437"),
        ("German", "cp850"),
        ("German", "cp1252"),
        ("French", "cp850"),
        ("French", "cp1252"),
        ("Spanish", "cp850"),
        ("Spanish", "cp1252"),
    ],
)
def test_names_in_a_legacy_encoding(tmp_path, language, encoding):
    assert archive_with(tmp_path / "a.zip", NAMES[language], encoding) == NAMES[language]


@pytest.mark.parametrize(
    "name", ["桜.jpg", "背高泡立草.jpg", "トマト.jpg", "バラ.jpg", "ナデシコ.jpg"]
)
def test_a_single_short_japanese_name(tmp_path, name):
    assert archive_with(tmp_path / "a.zip", [name], "cp932") == [name]


@pytest.mark.parametrize("name", ["荷花.jpg", "玫瑰1.jpg", "IMG_牡丹.jpg"])
def test_a_single_short_chinese_name(tmp_path, name):
    assert archive_with(tmp_path / "a.zip", [name], "gbk") == [name]


def test_decomposed_names_of_macos_are_composed(tmp_path):
    decomposed = [unicodedata.normalize("NFD", name) for name in NAMES["German"]]
    assert archive_with(tmp_path / "a.zip", decomposed, "utf-8") == NAMES["German"]


def test_backslashes_of_windows_separate_folders(tmp_path):
    assert archive_with(tmp_path / "a.zip", ["2024\\rose.jpg"], "ascii") == ["2024/rose.jpg"]


def test_the_unicode_path_field_of_info_zip_is_used(tmp_path):
    def unicode_path(raw):
        name = struct.pack("<BI", 1, zlib.crc32(raw)) + "Георгин.jpg".encode()
        return struct.pack("<HH", 0x7075, len(name)) + name

    assert archive_with(tmp_path / "a.zip", ["ƒ.jpg"], "cp437", extra=unicode_path) == [
        "Георгин.jpg"
    ]
