"""The errors that this package raises on bad input: each message is one sentence that says what to do."""


class FlowerModelError(Exception):
    """Base of every error raised on bad input; a command prints it and exits with 2."""


class ImageError(FlowerModelError):
    """What was given as a photo can't be opened as one."""


class ModelError(FlowerModelError):
    """A weights folder is missing, damaged or does not fit together."""


class ConversionError(ModelError):
    """A network holds something that the runtime that was asked for can't run."""


class HubError(FlowerModelError):
    """A Hub repository does not exist, is not readable or can't be reached."""


class DataError(FlowerModelError):
    """A training set is missing, empty or can't be split."""


class RecipeError(FlowerModelError):
    """A recipe is unknown or says something that can't be run."""


class WriteError(FlowerModelError):
    """A file can't be written, as on a full disk; what stood in its place still does."""


def shorten(text: object, limit: int = 60) -> str:
    """Return the text for quotation in a message; a text over `limit` characters loses its middle."""
    text = " ".join(str(text).split())
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"
