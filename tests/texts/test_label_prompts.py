"""Zero-shot label vectors: right prompts, unit norm, cached until the prompts change."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from taistore.encoders.protocol import Float32
from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts import label_prompts as module
from taistore.texts.label_prompts import (
    all_label_prompts,
    cached_prompt_vectors,
    label_prompts,
    prompt_vectors,
)
from tests.fakes import COLOURS, ColourEncoder

LABELS = LabelSet(Label(name, name) for name in COLOURS)


class _CountingEncoder(ColourEncoder):
    """Counts the texts that it encodes."""

    texts = 0

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Raw text vectors [n, D], counted."""
        self.texts += len(texts)
        return super().encode_texts(texts)


def test_prompts_read_well() -> None:
    labels = LabelSet([Label("a", "umbrella"), Label("b", "scissors"), Label("c", "broccoli")])
    assert label_prompts(labels, 0)[0] == "a photo of an umbrella"
    assert "a photo of umbrellas" in label_prompts(labels, 0)
    assert label_prompts(labels, 1)[0] == "a photo of a pair of scissors"
    # Singular and plural of a mass noun are one prompt, not two.
    assert label_prompts(labels, 2).count("a photo of broccoli") == 1
    assert all_label_prompts(labels)[1] == label_prompts(labels, 1)


def test_shared_names_are_told_apart() -> None:
    labels = LabelSet([Label("1", "organ", ("pipe organ",)), Label("2", "organ")])
    assert label_prompts(labels, 0)[0] == "a photo of an organ (pipe organ)"


def test_vectors_are_the_mean_of_unit_vectors(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    encoder = ColourEncoder()
    vectors_ND = prompt_vectors(store, encoder)
    assert vectors_ND.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors_ND, axis=1), 1, atol=1e-6)
    each_PD = encoder.encode_texts(label_prompts(LABELS, 3))
    mean_D = (each_PD / np.linalg.norm(each_PD, axis=1, keepdims=True)).mean(0)
    assert np.allclose(vectors_ND[3], mean_D / np.linalg.norm(mean_D), atol=1e-3)


def test_vectors_are_cached_until_a_prompt_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    encoder = _CountingEncoder()
    first = prompt_vectors(store, encoder)
    made = encoder.texts
    assert made == len(module.PROMPTS) * len(LABELS) - sum(
        len(module.PROMPTS) - len(p) for p in all_label_prompts(LABELS)
    )
    assert np.array_equal(prompt_vectors(store, encoder), first)
    assert encoder.texts == made
    monkeypatch.setattr(module, "PROMPTS", ("a painting of {one}",))
    other = prompt_vectors(store, encoder)
    assert encoder.texts == made + len(LABELS)
    assert not np.array_equal(other, first)
    assert store.count("centroids", encoder.info.encoder_id) == len(LABELS)


def test_cached_vectors_are_none_until_they_are_made(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    encoder = ColourEncoder()
    store.register_encoder(encoder.info)
    assert cached_prompt_vectors(store, encoder.info) is None
    made = prompt_vectors(store, encoder)
    cached = cached_prompt_vectors(store, encoder.info)
    assert cached is not None
    assert np.array_equal(cached, made)


def test_imported_vectors_need_one_for_every_label(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    imported = ColourEncoder(context_length=None)
    store.register_encoder(imported.info)
    with pytest.raises(TextError, match="label 'red' has no text vector of its own"):
        cached_prompt_vectors(store, imported.info)


def test_prompts_that_are_too_long_are_left_out_or_named(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    assert prompt_vectors(store, ColourEncoder(context_length=6)).shape == (len(LABELS), 32)
    with pytest.raises(TextError, match="label 'red': shortest prompt of 6 tokens"):
        prompt_vectors(store, ColourEncoder(context_length=5, name="tiny"))
