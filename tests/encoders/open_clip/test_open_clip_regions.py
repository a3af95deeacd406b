"""Region vectors mean what they say: each position alone, in the space of the image vectors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taistore.encoders.open_clip.encoder import OpenClipEncoder, load_open_clip
from taistore.errors import EncoderError
from tests.encoders.small_models import build, normalised, pixels

TOWERS = ["small-resnet", "small-vit", "small-vit-average", "small-convnext", "small-map"]


@pytest.fixture
def load(small_weights: Callable[[str], Path]) -> Callable[..., OpenClipEncoder]:
    def loaded(name: str, options: str = "") -> OpenClipEncoder:
        return load_open_clip(f"open_clip:{name}/{small_weights(name)}{options}", device="cpu")

    return loaded


def _close(found: Any, wanted: torch.Tensor) -> None:
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("grid", [1, 2, 3, 7])
def test_any_grid_comes_with_the_same_whole_vectors(
    load: Callable[..., OpenClipEncoder], name: str, grid: int
) -> None:
    encoder = load(name)
    batch = pixels(2, encoder.info.resolution)
    found = encoder.encode_images(batch, regions=grid)
    assert found.regions is not None
    assert found.regions.shape == (2, grid * grid, 32)
    assert found.regions.dtype == np.float32
    np.testing.assert_allclose(found.whole, encoder.encode_images(batch).whole, atol=1e-5)


@torch.inference_mode()
def test_resnet_regions_are_the_pools_value_and_output_of_each_cell(
    load: Callable[..., OpenClipEncoder],
) -> None:
    """By hand: where the pool's softmax falls on one cell alone, its output is c(v(cell))."""
    batch = pixels(2, 128)
    model: Any = load("small-resnet", "@128")._model
    visual, pool = model.visual, model.visual.attnpool
    x = visual.stem(normalised(batch))
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    wanted = []
    for row in range(4):
        for column in range(4):
            cell_BC = x[:, :, row, column] + pool.positional_embedding[1 + 4 * row + column]
            value_BC = cell_BC @ pool.v_proj.weight.T + pool.v_proj.bias
            wanted.append(value_BC @ pool.c_proj.weight.T + pool.c_proj.bias)
    encoder = load("small-resnet", "@128")
    wanted_BLD = torch.stack(wanted, dim=1)
    _close(encoder.encode_images(batch, regions=4).regions, wanted_BLD)
    # The projections are linear, so a coarser region is the mean of its cells.
    coarse_BLD = wanted_BLD.reshape(2, 2, 2, 2, 2, 32).mean((2, 4)).reshape(2, 4, 32)
    _close(encoder.encode_images(batch, regions=2).regions, coarse_BLD)


@torch.inference_mode()
def test_vit_regions_are_value_projected_patches(load: Callable[..., OpenClipEncoder]) -> None:
    """By hand: the last block with attention replaced by its value and output projections."""
    model = build("small-vit")
    visual, batch = model.visual, pixels(2, 64)
    x = visual._embeds(normalised(batch))
    for block in visual.transformer.resblocks[:-1]:
        x = block(x)
    last, attention = visual.transformer.resblocks[-1], visual.transformer.resblocks[-1].attn
    width = x.shape[-1]
    value_weight, value_bias = (
        attention.in_proj_weight[2 * width :],
        attention.in_proj_bias[2 * width :],
    )
    values = last.ln_1(x) @ value_weight.T + value_bias
    x = x + values @ attention.out_proj.weight.T + attention.out_proj.bias
    x = x + last.mlp(last.ln_2(x))
    wanted_BLD = (visual.ln_post(x) @ visual.proj)[:, 1:]
    _close(load("small-vit").encode_images(batch, regions=4).regions, wanted_BLD)


@torch.inference_mode()
def test_timm_regions_are_positions_sent_through_the_head(
    load: Callable[..., OpenClipEncoder],
) -> None:
    model = build("small-convnext")
    visual, batch = model.visual, pixels(2, 64)
    x = visual.trunk.forward_features(normalised(batch))
    side = x.shape[-1]
    wanted = [
        visual.head(visual.trunk.forward_head(x[:, :, row : row + 1, column : column + 1]))
        for row in range(side)
        for column in range(side)
    ]
    found = load("small-convnext").encode_images(batch, regions=side).regions
    _close(found, torch.stack(wanted, dim=1))


@pytest.mark.parametrize("name", TOWERS)
def test_regions_run_row_by_row_from_the_top_left(
    load: Callable[..., OpenClipEncoder], name: str
) -> None:
    """A change in one corner of the picture is felt most in the region of that corner."""
    encoder = load(name, "" if name == "small-map" else "@128")
    side = encoder.info.resolution
    plain = np.full((1, 3, side, side), 90, dtype=np.uint8)

    def moved(row: int, column: int) -> int:
        changed = plain.copy()
        half = side // 2
        corner = changed[:, :, row * half :, column * half :][:, :, :half, :half]
        corner[:] = pixels(1, half, seed=3)
        regions: list[NDArray[np.float32]] = []
        for batch in (plain, changed):
            found = encoder.encode_images(batch, regions=2).regions
            assert found is not None
            regions.append(found[0])
        return int(np.linalg.norm(regions[1] - regions[0], axis=1).argmax())

    assert [moved(0, 0), moved(0, 1), moved(1, 0), moved(1, 1)] == [0, 1, 2, 3]


def test_a_tower_without_regions_says_so(load: Callable[..., OpenClipEncoder]) -> None:
    encoder = load("small-coca")
    with pytest.raises(EncoderError, match="small-coca has no region vectors"):
        encoder.encode_images(pixels(1, 64), regions=7)
