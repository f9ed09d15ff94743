"""Readable names of zip members, whatever encoding the archiver used."""

import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # Info-ZIP's extra field with the name in UTF-8


def readable_names(members: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return the members' names in NFC with "/" between folders.

    Names are UTF-8 where the archive says so or their bytes are valid UTF-8 (macOS sets no flag). The
    encoding of all others is guessed once per archive: GBK, Shift-JIS or a Western code page.
    """
    names = [_name(member) for member in members]
    encoding = _guess_encoding(b"\n".join(name for name in names if isinstance(name, bytes)))
    found = [n.decode(encoding, "replace") if isinstance(n, bytes) else n for n in names]
    return [unicodedata.normalize("NFC", name.replace("\\", "/")) for name in found]


def _name(member: zipfile.ZipInfo) -> str | bytes:
    """Return the name of a member, or its bytes if their encoding has to be guessed."""
    if member.flag_bits & UTF8_FLAG:
        return member.orig_filename
    raw = member.orig_filename.encode("cp437")  # as zipfile decodes a name without the flag
    try:
        return _extra_field_name(member.extra, raw) or raw.decode()
    except UnicodeDecodeError:
        return raw


def _extra_field_name(extra: bytes, raw: bytes) -> str | None:
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        # Version 1, the checksum of the name it replaces, and the name.
        if kind == UNICODE_PATH and content[:5] == struct.pack("<BI", 1, zlib.crc32(raw)):
            return content[5:].decode()
    return None


def _guess_encoding(text: bytes) -> str:
    if _share_of_common_hanzi(text) > 0.9:
        return "gb18030"
    latin = _share_inside_words(text) > 0.5
    kana, kanji = _count_japanese(text)
    if kana >= 3 or (kana + kanji and not latin):
        return "cp932"
    return max(("cp437", "cp850", "cp1252"), key=lambda name: _count_latin_letters(text, name))


def _share_of_common_hanzi(text: bytes) -> float:
    """Return the share of GB2312's characters among all double-byte characters, 0 if it is not GBK."""
    try:
        characters = [c.encode("gbk") for c in text.decode("gbk") if not c.isascii()]
    except UnicodeError:
        return 0.0
    common = [c for c in characters if len(c) == 2 and 0xB0 <= c[0] <= 0xF7 and c[1] >= 0xA1]
    return len(common) / max(len(characters), 1)


def _count_japanese(text: bytes) -> tuple[int, int]:
    """Return the number of kana and of common kanji if the bytes are Shift-JIS, otherwise zeros."""
    try:
        decoded = text.decode("cp932")
    except UnicodeDecodeError:
        return 0, 0
    kana = sum("\u3041" <= c <= "\u30fe" for c in decoded)
    kanji = sum("\u4e00" <= c <= "\u9fff" and c.encode("cp932")[0] < 0xA0 for c in decoded)
    return kana, kanji


def _share_inside_words(text: bytes) -> float:
    """Return the share of non-ASCII bytes between two lower-case ASCII letters, as in "Möwe"."""
    high = [i for i, byte in enumerate(text) if byte >= 0x80]
    inside = [i for i in high if text[i - 1 : i].isalpha() and text[i + 1 : i + 2].islower()]
    return len(inside) / max(len(high), 1)


def _count_latin_letters(text: bytes, encoding: str) -> int:
    decoded = text.decode(encoding, "replace")
    return sum(c.isalpha() and unicodedata.name(c, "").startswith("LATIN") for c in decoded)
