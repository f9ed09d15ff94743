"""Messages of errors: a single line of limited length."""

import pytest

from flower_model import FlowerModelError, HubError, ImageError


@pytest.mark.parametrize("error", [FlowerModelError, ImageError, HubError])
@pytest.mark.parametrize("length", [10, 299, 300, 301, 100_000])
def test_messages_are_limited_to_300_characters_and_keep_their_ends(error, length):
    text = "Can't open '" + "x" * (length - 20) + "': stop." if length > 20 else "Too short."
    message = str(error(text))
    assert message[:5] == text[:5] and message[-5:] == text[-5:]
    if length <= 300:
        assert message == text and len(message) == length
    else:
        assert 299 <= len(message) <= 300 and "x…x" in message


def test_messages_are_a_single_line():
    assert str(FlowerModelError("one\ntwo\r\nthree\u2028four")) == "one two three four"
