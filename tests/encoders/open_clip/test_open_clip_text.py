"""Text towers with a tokenizer of transformers, as SigLIP and multilingual models have."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, PreTrainedTokenizerFast

from taistore.encoders.open_clip.encoder import OpenClipEncoder, load_open_clip
from taistore.errors import EncoderError, TextError

WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "[CLS]", "a", "photo", "of", "cat", "dog", "two"]
VISION = {"image_size": 64, "layers": 1, "width": 48, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 8, "vocab_size": len(WORDS), "width": 32, "heads": 4, "layers": 2}
LAST = TEXT | {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
CLIPS = TEXT | {"tokenizer_mode": "clips", "pool_type": "last"}
TEXTS = ["a photo of a cat", "two dog", "a a a a a a"]


def _tokenizer(folder: Path) -> str:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 2)])
    make: Callable[..., Any] = PreTrainedTokenizerFast  # untyped
    fast = make(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        unk_token="[UNK]",
        cls_token="[CLS]",
    )
    fast.save_pretrained(str(folder / "tokenizer"))
    return str(folder / "tokenizer")


def _load(folder: Path, text: dict[str, Any], **settings: Any) -> tuple[OpenClipEncoder, Any]:
    """Register a model with ``text`` in ``folder``, save random weights of it, load them."""
    name = f"small-{folder.name}"
    config = {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": text}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CustomTextCLIP(32, VISION, text).eval()
    torch.save(model.state_dict(), folder / "w.pt")
    return load_open_clip(f"open_clip:{name}/{folder}/w.pt", device="cpu", **settings), model


@pytest.mark.parametrize(("text", "added"), [(LAST, 1), (CLIPS, 3)])
def test_counts_and_vectors_follow_the_models_tokenizer(
    tmp_path: Path, text: dict[str, Any], added: int
) -> None:
    encoder, model = _load(tmp_path, text | {"hf_tokenizer_name": _tokenizer(tmp_path)})
    assert encoder.info.context_length == 8
    assert encoder.count_tokens(TEXTS) == [5 + added, 2 + added, 6 + added]
    assert encoder.count_tokens([]) == []
    texts = TEXTS[:2]
    tokens = open_clip.get_tokenizer(encoder.info.model)(texts)
    assert tokens.shape == (2, 8)
    with torch.inference_mode():
        wanted = model.encode_text(tokens).numpy()
    found = encoder.encode_texts(texts)
    # Processors order the sums of float32 differently.
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=5e-6)
    assert np.abs(found[0] - found[1]).max() > 0.01
    with pytest.raises(TextError, match=f"text 1 has {9 + added} tokens, .* at most 8"):
        encoder.encode_texts(["a a a a a a a a a"])


def test_a_text_tower_of_transformers_is_built_without_the_hub(tmp_path: Path) -> None:
    tower = tmp_path / "bert"
    BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
    ).save_pretrained(str(tower))
    text = {
        "hf_model_name": str(tower),
        "hf_model_pretrained": False,
        "hf_tokenizer_name": _tokenizer(tmp_path),
        "hf_proj_type": "mlp",
        "hf_pooler_type": "mean_pooler",
        "context_length": 8,
    }
    encoder, model = _load(tmp_path, text)
    with torch.inference_mode():
        wanted = model.encode_text(open_clip.get_tokenizer(encoder.info.model)(TEXTS)).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), wanted, atol=1e-5)
    half, _ = _load(tmp_path, text, precision="bf16")
    np.testing.assert_allclose(half.encode_texts(TEXTS), wanted, atol=0.05)


@pytest.mark.parametrize("missing", ["hf_tokenizer_name", "hf_model_name"])
def test_a_tokenizer_or_tower_on_the_hub_is_named(tmp_path: Path, missing: str) -> None:
    name = f"small-{tmp_path.name}"
    config = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT | {missing: "me/none"}}
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(config | {"custom_text": True}), encoding="utf-8")
    open_clip.add_model_config(path)
    model = open_clip.CustomTextCLIP(32, VISION, TEXT)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with pytest.raises(EncoderError, match=r"encoder=packaged") as caught:
        load_open_clip(f"open_clip:{name}/{tmp_path}/w.pt", device="cpu")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
