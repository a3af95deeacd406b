"""The colour encoder that other tests rely on keeps the encoder protocol."""

import numpy as np
import pytest

from taistore.encoders.protocol import Encoder
from taistore.errors import TextError
from tests.fakes import COLOURS, ColourEncoder, colour_image


def test_texts_lie_near_images_of_their_colours() -> None:
    encoder: Encoder = ColourEncoder()
    names = list(COLOURS)
    pixels = np.stack([encoder.prepare(colour_image(name)) for name in names])
    images_BD = encoder.encode_images(pixels).whole
    texts_CD = encoder.encode_texts([f"a photo of {name}." for name in names])
    np.testing.assert_allclose(np.linalg.norm(images_BD, axis=1), 10, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts_CD, axis=1), 10, rtol=1e-5)
    assert (images_BD @ texts_CD.T).argmax(1).tolist() == list(range(len(names)))


def test_two_colours_are_the_two_best_texts() -> None:
    encoder = ColourEncoder()
    image_D = encoder.encode_images(encoder.prepare(colour_image("red", "blue"))[None]).whole[0]
    texts_CD = encoder.encode_texts([f"a photo of {name}" for name in COLOURS])
    best = np.argsort(-(texts_CD @ image_D))[:2]
    assert {list(COLOURS)[i] for i in best} == {"red", "blue"}


def test_regions_run_row_by_row_and_see_their_own_part() -> None:
    encoder = ColourEncoder()
    vectors = encoder.encode_images(encoder.prepare(colour_image("red", "blue"))[None], regions=2)
    assert vectors.regions is not None
    assert vectors.regions.shape == (1, 4, 32)
    red, blue = encoder.encode_texts(["red", "blue"])
    assert [bool(cell @ red > cell @ blue) for cell in vectors.regions[0]] == [
        True,
        False,
        True,
        False,
    ]


def test_a_batch_gives_what_its_images_give_alone() -> None:
    encoder = ColourEncoder()
    pixels = np.stack([encoder.prepare(colour_image("red", name)) for name in COLOURS])
    together = encoder.encode_images(pixels).whole
    alone = np.concatenate([encoder.encode_images(one[None]).whole for one in pixels])
    np.testing.assert_array_equal(together, alone)


def test_a_text_too_long_is_refused() -> None:
    with pytest.raises(TextError, match="33 tokens, at most 32"):
        ColourEncoder().encode_texts([" ".join(["red"] * 31)])
