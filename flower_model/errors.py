"""Errors raised on bad input; each message is a sentence or two that say what to do."""

import unicodedata

JOINERS = "\u200c\u200d"  # invisible, but part of the spelling of Persian and Hindi words
MAX_MESSAGE = 300  # characters


class FlowerModelError(Exception):
    """Base class of every error raised on bad input; commands print it and exit with code 2.

    Whatever a message quotes, it is a single line of at most `MAX_MESSAGE` characters.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        super().__init__(line if len(line) <= MAX_MESSAGE else shorten(line, MAX_MESSAGE))


class ImageError(FlowerModelError):
    """An input can't be opened as a photo."""


class ModelError(FlowerModelError):
    """A weights folder is missing, damaged or inconsistent."""


class ConversionError(ModelError):
    """A network has an operation that the requested runtime can't run."""


class HubError(FlowerModelError):
    """A Hub repository is missing, not readable or not reachable."""


class DataError(FlowerModelError):
    """A dataset is missing, empty or can't be split."""


class RecipeError(FlowerModelError):
    """A recipe is unknown or has invalid settings."""


class WriteError(FlowerModelError):
    """A file can't be written, for example on a full disk; its previous version is intact."""


def shorten(text: object, limit: int = 60) -> str:
    """Return the text for quotation in a message; a text over `limit` characters loses its middle."""
    text = " ".join(str(text).split())
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def is_printable(text: str) -> bool:
    """Return True for text without control characters, which a terminal would obey."""
    return all(c.isprintable() or c in JOINERS or unicodedata.category(c) == "Zs" for c in text)
