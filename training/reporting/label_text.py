"""Class names in figures, each with a font that can render it, or else the number of the class."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from matplotlib import ft2font
from matplotlib.font_manager import findfont, fontManager
from PIL import features

FONT_FILE = findfont("DejaVu Sans")  # comes with matplotlib; Latin, Greek, Cyrillic and Arabic
# Both libraries need it for right-to-left and for Indic text; matplotlib has it since 3.11.
HAS_SHAPING = hasattr(ft2font, "__libraqm_version__") and bool(features.check("raqm"))


class FigureLabel(NamedTuple):
    """A class name as it is drawn.

    Attributes:
        text: The name, or "#" and the number of the class in config.json.
        font: Path of a font with all its glyphs.
    """

    text: str
    font: str


def figure_labels(labels: Sequence[str], numbers: Iterable[int] | None = None) -> list[FigureLabel]:
    """Return how each label is drawn; one whose glyphs no font on this machine has is numbered.

    `numbers` are those of the labels in config.json; None if these are all labels in order.
    """
    drawn = []
    for number, label in zip(
        range(len(labels)) if numbers is None else numbers, labels, strict=True
    ):
        font = _find_font(label)
        drawn.append(FigureLabel(label, font) if font else FigureLabel(f"#{number}", FONT_FILE))
    return drawn


def _find_font(text: str) -> str | None:
    if not HAS_SHAPING and any(map(_needs_shaping, text)):
        return None
    # Spaces and joiners need no glyph of their own.
    visible = {c for c in text if unicodedata.category(c) not in ("Zs", "Cf")}
    needed = {ord(character) for character in visible}
    return next((path for path in _font_files() if needed <= _glyphs(path)), None)


def _needs_shaping(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL") or "\u0900" <= character < "\u1100"


def _font_files() -> Iterator[str]:
    yield FONT_FILE
    fonts = [font for font in fontManager.ttflist if not font.name.startswith("Last Resort")]
    # upright and regular fonts first
    fonts.sort(key=lambda font: (font.style != "normal", str(font.weight) not in ("400", "normal")))
    yield from (font.fname for font in fonts)


@cache
def _glyphs(path: str) -> frozenset[int]:
    try:
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a damaged font, or one deleted since matplotlib's scan
        return frozenset()
