"""Class names in figures: a name that the font can't render is replaced by the number of its class."""

from collections.abc import Sequence

from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font

FONT_FILE = findfont("DejaVu Sans")  # comes with matplotlib; Latin, Greek, Cyrillic and Arabic


def figure_labels(labels: Sequence[str]) -> list[str]:
    """Return each label, or "#" and its number in config.json if the font lacks one of its characters."""
    glyphs = FT2Font(FONT_FILE).get_charmap()
    return [
        label if all(ord(character) in glyphs for character in label) else f"#{number}"
        for number, label in enumerate(labels)
    ]
