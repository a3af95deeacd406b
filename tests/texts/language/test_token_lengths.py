"""Token lengths are told, never acted on."""

import pytest

from taistore.errors import EncoderError
from taistore.texts.language.token_lengths import text_lengths, text_limit
from tests.fakes import ColourEncoder


def test_lengths_tell_what_fits() -> None:
    short, long = text_lengths(
        ColourEncoder(context_length=6), ["a red dog", "one two three four five"]
    )
    assert short.fits
    assert not long.fits
    assert long.detail == "7 tokens, the encoder takes at most 6: shorten the text"


def test_an_encoder_without_text_is_refused() -> None:
    with pytest.raises(EncoderError, match="imported vectors and cannot encode text"):
        text_limit(ColourEncoder(context_length=None))
