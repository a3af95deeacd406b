"""Whole images by the attention pool without its positional embedding, as TaI-DPT scores them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from taistore.encoders.open_clip.attention_pool import POSITIONS_KEY
from taistore.encoders.open_clip.encoder import OpenClipEncoder, load_open_clip
from taistore.encoders.registry import canonical_spec
from taistore.errors import EncoderError
from tests.encoders.small_models import build, normalised, pixels

TEXTS = ["a photo of a cat", "two dogs and a bicycle"]
Load = Callable[..., OpenClipEncoder]


@pytest.fixture
def load(small_weights: Callable[[str], Path]) -> Load:
    """Loads the small ResNet with these options."""

    def loaded(options: str = "", **settings: Any) -> OpenClipEncoder:
        spec = f"open_clip:small-resnet/{small_weights('small-resnet')}{options}"
        return load_open_clip(spec, device="cpu", **settings)

    return loaded


@torch.inference_mode()
def pooled_without_positions(side: int) -> np.ndarray[Any, Any]:
    """TaI-DPT's pool on open_clip's own feature map: attention of all tokens, the mean's output."""
    visual: Any = build("small-resnet").visual
    x = visual.stem(normalised(pixels(3, side)))
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    pool = visual.attnpool
    cells_LBC = x.reshape(*x.shape[:2], -1).permute(2, 0, 1)
    tokens_TBC = torch.cat([cells_LBC.mean(dim=0, keepdim=True), cells_LBC])
    attended_TBD, _ = F.multi_head_attention_forward(
        tokens_TBC,
        tokens_TBC,
        tokens_TBC,
        embed_dim_to_check=tokens_TBC.shape[-1],
        num_heads=pool.num_heads,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        training=False,
        need_weights=False,
        use_separate_proj_weight=True,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
    )
    return attended_TBD[0].numpy()


@pytest.mark.parametrize("side", [64, 128])
def test_whole_images_are_those_of_the_pool_without_positions(load: Load, side: int) -> None:
    bare, plain = load(f"@{side},no-positions"), load(f"@{side}")
    batch = pixels(3, side)
    wanted = pooled_without_positions(side)
    np.testing.assert_allclose(bare.encode_images(batch).whole, wanted, atol=1e-5, rtol=1e-4)
    assert np.abs(plain.encode_images(batch).whole - wanted).max() > 0.01


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_regions_and_texts_are_the_same(load: Load, grid: int) -> None:
    bare, plain = load("@128,no-positions"), load("@128")
    batch = pixels(3, 128)
    found, wanted = (one.encode_images(batch, regions=grid) for one in (bare, plain))
    assert found.regions is not None
    assert wanted.regions is not None
    np.testing.assert_array_equal(found.regions, wanted.regions)
    np.testing.assert_array_equal(found.whole, bare.encode_images(batch).whole)
    np.testing.assert_array_equal(bare.encode_texts(TEXTS), plain.encode_texts(TEXTS))


def test_it_is_another_encoder(load: Load) -> None:
    bare, plain = load(",no-positions").info, load().info
    digest = bare.weights_digest[:10]
    assert bare.encoder_id == f"open_clip_small_resnet_64_squash_no_positions_{digest}"
    assert bare.spec == f"{plain.spec},no-positions"
    assert load_open_clip(bare.spec, device="cpu").info == bare
    assert load(",crop,no-positions").info.encoder_id not in (bare.encoder_id, plain.encoder_id)
    assert bare.weights_digest == plain.weights_digest


def test_positions_of_zero_are_no_positions(load: Load, tmp_path: Path) -> None:
    state = build("small-resnet").state_dict()
    state[POSITIONS_KEY].zero_()
    torch.save(state, tmp_path / "w.pt")
    zero = load_open_clip(f"open_clip:small-resnet/{tmp_path / 'w.pt'}", device="cpu")
    batch = pixels(2, 64)
    found = load(",no-positions").encode_images(batch).whole
    np.testing.assert_allclose(found, zero.encode_images(batch).whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close(load: Load, precision: str) -> None:
    batch = pixels(4, 64)
    full = load(",no-positions").encode_images(batch).whole
    half = load(",no-positions", precision=precision).encode_images(batch).whole
    cosine = (full * half).sum(-1) / np.linalg.norm(full, axis=-1) / np.linalg.norm(half, axis=-1)
    assert 1e-8 < 1 - cosine.min() < (5e-3 if precision == "bf16" else 1e-4)


@pytest.mark.parametrize(
    "name", ["small-vit", "small-coca", "small-convnext", "small-map", "ViT-B-32"]
)
def test_a_tower_without_such_a_pool_says_so_before_anything_is_fetched(name: str) -> None:
    for ask in (canonical_spec, load_open_clip):
        with pytest.raises(EncoderError) as error:
            ask(f"open_clip:{name}//nowhere/w.pt,no-positions")
        assert f"open_clip:{name} has no attention pool with positions" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["RN50", "RN101", "RN50x4", "RN50-quickgelu"])
def test_clips_resnets_have_one(name: str) -> None:
    spec = canonical_spec(f"open_clip:{name}//nowhere/w.pt,crop,no-positions")
    assert spec.endswith(",crop,no-positions")
