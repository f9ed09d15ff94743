"""Class names in any script or with $…$ in figures; a figure that fails doesn't end a run."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import FontEntry, fontManager
from PIL import Image

from tests.support.drawn import COLOURS, draw_dataset
from training.data.decoded import decode_photos
from training.data.folders import read_photo_folder
from training.data.sampling import Photos
from training.recipe import load_recipe
from training.reporting import label_text
from training.reporting.figures import plot_confusion_matrix, plot_reliability
from training.reporting.label_text import FONT_FILE, figure_labels
from training.reporting.review import review, write_contact_sheets

SCRIPTS = ["玫瑰", "ばら", "गुलाब", "وردة", "$rose$", r"$\frac{$", "50 $ rose", "rosa\u00a0alba"]


@pytest.fixture
def only_dejavu(monkeypatch) -> None:
    """A machine whose only font is the one that comes with matplotlib."""
    fonts = [font for font in fontManager.ttflist if font.fname == FONT_FILE]
    monkeypatch.setattr(fontManager, "ttflist", fonts)


@pytest.fixture
def rose_font(only_dejavu, tmp_path, monkeypatch) -> str:
    """The path of an installed font whose only glyphs are 玫 and 瑰, both filled squares."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    names = [".notdef", "uni73AB", "uni7470"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({0x73AB: names[1], 0x7470: names[2]})
    builder.setupGlyf({names[0]: empty, names[1]: square, names[2]: square})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Rose", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "rose.ttf"
    builder.save(path)
    fonts = [*fontManager.ttflist, FontEntry(fname=str(path), name="Rose", weight=400)]
    monkeypatch.setattr(fontManager, "ttflist", fonts)
    return str(path)


def black_pixels(picture: Image.Image) -> int:
    return int((np.asarray(picture.convert("L")) < 64).sum())


# Class names


@pytest.mark.parametrize("label", ["rose", "Röschen", "шиповник", "τριανταφυλλιά", "$rose$"])
def test_a_label_in_the_default_font_is_drawn_as_it_is(only_dejavu, label):
    assert figure_labels([label]) == [(label, FONT_FILE)]


@pytest.mark.parametrize("label", ["玫瑰", "ばら", "장미", "गुलाब", "rose 🌹"])
def test_a_label_without_a_font_is_numbered(only_dejavu, label):
    assert [drawn.text for drawn in figure_labels(["rose", label])] == ["rose", "#1"]


def test_a_label_is_drawn_in_an_installed_font_that_has_its_glyphs(rose_font):
    drawn = figure_labels(["rose", "玫瑰", "ばら"])
    assert drawn == [("rose", FONT_FILE), ("玫瑰", rose_font), ("#2", FONT_FILE)]


@pytest.mark.parametrize("invisible", ["\u00a0", "\u200d", "\u200c", "\u3000", "\u00ad"])
def test_spaces_and_joiners_need_no_glyph(rose_font, invisible):
    assert figure_labels([f"玫{invisible}瑰"])[0].font == rose_font


def test_arabic_is_numbered_where_text_is_not_shaped(only_dejavu, monkeypatch):
    monkeypatch.setattr(label_text, "HAS_SHAPING", False)
    assert [drawn.text for drawn in figure_labels(["وردة", "rose"])] == ["#0", "rose"]


def test_a_damaged_font_is_skipped(rose_font):
    Path(rose_font).write_bytes(Path(rose_font).read_bytes()[:100])
    assert figure_labels(["玫瑰"])[0].text == "#0"


# Figures


@pytest.mark.parametrize("fonts", ["only_dejavu", "rose_font"])
def test_a_confusion_matrix_has_labels_in_any_script(request, fonts):
    request.getfixturevalue(fonts)
    classes = np.arange(len(SCRIPTS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as "Glyph missing from font"
        picture = plot_confusion_matrix(classes, np.roll(classes, 1), SCRIPTS)
    assert picture.startswith(b"\x89PNG")


def test_a_confusion_matrix_of_many_classes_has_their_numbers_in_config(only_dejavu):
    labels = [f"玫{number}" for number in range(30)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot_confusion_matrix(np.arange(30), np.roll(np.arange(30), 1), labels)


def test_a_reliability_diagram_without_a_temperature_has_one_curve():
    points = [{"confidence": 0.7, "accuracy": 0.6, "photos": 10}]
    assert plot_reliability(points, None) != plot_reliability(points, points)


@pytest.fixture
def photos(tmp_path) -> Photos:
    """Discs with class names in three scripts."""
    found = read_photo_folder(draw_dataset(tmp_path / "discs", 6)).splits[""]
    names = dict(zip(sorted(COLOURS), ["玫瑰", "وردة", "$rose$"], strict=True))
    decoded = decode_photos([replace(p, label=names[p.label]) for p in found], 64, "", cache=False)
    labels = sorted(names.values())
    return Photos(labels, decoded, decoded)


def test_a_contact_sheet_has_labels_in_any_script(photos, rose_font, tmp_path):
    probs = np.tile(np.eye(3)[photos.labels.index("玫瑰")], (len(photos.val), 1))
    write_contact_sheets(tmp_path, photos.val, probs, photos.labels)
    with Image.open(tmp_path / "worst.jpg") as sheet:
        caption = sheet.crop((0, 148, 19, 160))  # of the first photo: two squares, then 100 %
    assert black_pixels(caption) > 120


def test_label_errors_are_reported_although_the_contact_sheets_failed(photos, tmp_path, capsys):
    gone = replace(photos.val, images=[None] * len(photos.val))
    for photo in gone.photos:
        photo.path.unlink()
    probs = np.eye(3)[photos.val_targets]
    review(tmp_path, replace(photos, val=gone), probs, load_recipe("default"))
    printed = capsys.readouterr()
    assert "The contact sheets failed" in printed.err and "\n" not in printed.err.strip()
    assert (tmp_path / "suspects.csv").exists() and "suspects.csv" in printed.out
