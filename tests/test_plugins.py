"""Plugins of this process: names, errors, and factories that take what they need."""

from typing import Any

import pytest

from taistore import plugins, register_encoder
from taistore.encoders.registry import canonical_spec, load_encoder
from taistore.errors import EncoderError, PluginError
from tests.fakes import ColourEncoder


def test_an_encoder_by_its_class() -> None:
    register_encoder("colours", ColourEncoder)
    assert canonical_spec("colours") == "colours"
    encoder = load_encoder("colours", device="cpu")
    # The store finds it by the name that it was asked for by, whatever its own is.
    assert encoder.info.spec == "colours"
    assert encoder.info.encoder_id == ColourEncoder().info.encoder_id
    assert (encoder.encode_texts(["red"]) == ColourEncoder().encode_texts(["red"])).all()


def test_a_factory_gets_what_it_takes() -> None:
    seen: dict[str, Any] = {}

    def load(argument: str, device: str) -> ColourEncoder:
        seen.update(argument=argument, device=device)
        return ColourEncoder(resolution=int(argument))

    register_encoder("sized", load)
    assert load_encoder("sized:16", device="cpu", precision="fp32").info.resolution == 16
    assert seen == {"argument": "16", "device": "cpu"}


def test_a_factory_that_fails_is_one_line() -> None:
    def load() -> ColourEncoder:
        raise RuntimeError("no weights")

    register_encoder("failing", load)
    with pytest.raises(PluginError) as error:
        load_encoder("failing")
    assert str(error.value) == (
        "'failing' of taistore.encoders, registered by this program, cannot be loaded "
        "(RuntimeError: no weights): mend it"
    )


def test_an_unknown_encoder_names_those_that_there_are() -> None:
    register_encoder("known-one", ColourEncoder)
    with pytest.raises(EncoderError, match=r"unknown encoder .unheard-of.: .*known-one"):
        load_encoder("unheard-of")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "../x", "é"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(PluginError, match="letters, digits"):
        plugins.register("taistore.encoders", name, ColourEncoder)
