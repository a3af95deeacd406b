"""Models at other resolutions than their own, against references that share no code with ours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray

from taistore.encoders.open_clip.attention_pool import POSITIONS_KEY, interpolate_positions
from taistore.encoders.open_clip.encoder import load_open_clip
from taistore.errors import EncoderError
from tests.encoders.small_models import build, normalised, pixels

Floats = NDArray[np.float64]


def _cubic(x: Floats) -> Floats:
    """Keys' kernel with a = -1/2, as antialiased bicubic resizing uses it."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _resize_weights(old: int, new: int) -> Floats:
    """[new, old]: how much each old cell counts in each new one; rows sum to 1."""
    scale = old / new
    stretch = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distances = (np.arange(old)[None, :] + 0.5 - centres[:, None]) / stretch
    weights = _cubic(distances)
    normalised_rows: Floats = weights / weights.sum(axis=1, keepdims=True)
    return normalised_rows


def bicubic_reference(positions_PC: Floats, new: int) -> Floats:
    """Attention-pool positions for another grid, in plain NumPy."""
    old = round((len(positions_PC) - 1) ** 0.5)
    map_HWC = positions_PC[1:].reshape(old, old, -1)
    weights = _resize_weights(old, new)
    map_HWC = np.einsum("yh,xw,hwc->yxc", weights, weights, map_HWC)
    return np.concatenate([positions_PC[:1], map_HWC.reshape(new * new, -1)])


@pytest.mark.parametrize(("old", "new"), [(7, 14), (7, 12), (7, 5), (14, 7), (2, 9), (9, 10)])
def test_positions_are_interpolated_as_the_numpy_reference_does(old: int, new: int) -> None:
    positions = np.random.default_rng(old).normal(size=(1 + old * old, 12))
    ours = interpolate_positions(torch.tensor(positions, dtype=torch.float32), new)
    np.testing.assert_allclose(ours.numpy(), bicubic_reference(positions, new), atol=2e-6)


def test_positions_at_their_own_grid_are_not_touched() -> None:
    positions = torch.randn(50, 8).half()
    assert interpolate_positions(positions, 7) is positions
    assert interpolate_positions(positions, 14).dtype == torch.float16


@pytest.mark.parametrize("shape", [(49, 8), (1, 8), (50,), (0, 8)])
def test_positions_that_are_no_square_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EncoderError, match=r"not \[1 \+ G\*G, C\]"):
        interpolate_positions(torch.zeros(shape), 14)


def test_a_resnet_at_twice_its_resolution_uses_interpolated_positions(
    small_weights: Callable[[str], Path],
) -> None:
    path = small_weights("small-resnet")
    encoder = load_open_clip(f"open_clip:small-resnet/{path}@128", device="cpu")
    config = open_clip.get_model_config("small-resnet")
    reference = build("small-resnet", vision_cfg=config["vision_cfg"] | {"image_size": 128})
    state = build("small-resnet").state_dict()
    positions = bicubic_reference(state[POSITIONS_KEY].double().numpy(), 4)
    reference.load_state_dict(state | {POSITIONS_KEY: torch.tensor(positions)})
    batch = pixels(2, 128)
    with torch.inference_mode():
        wanted = reference.encode_image(normalised(batch)).numpy()
    np.testing.assert_allclose(encoder.encode_images(batch).whole, wanted, atol=2e-5, rtol=1e-4)


def test_weights_that_were_trained_at_another_resolution_fit_too(tmp_path: Path) -> None:
    config = open_clip.get_model_config("small-resnet")["vision_cfg"] | {"image_size": 128}
    model = build("small-resnet", vision_cfg=config)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    encoder = load_open_clip(f"open_clip:small-resnet/{tmp_path}/w.pt@128", device="cpu")
    batch = pixels(2, 128)
    with torch.inference_mode():
        wanted = model.encode_image(normalised(batch)).numpy()
    np.testing.assert_allclose(encoder.encode_images(batch).whole, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "side"), [("small-vit", 96), ("small-vit-average", 48), ("small-map", 192)]
)
def test_transformers_are_resized_as_open_clip_does(
    small_weights: Callable[[str], Path], name: str, side: int
) -> None:
    path = small_weights(name)
    encoder = load_open_clip(f"open_clip:{name}/{path}@{side}", device="cpu")
    reference = open_clip.create_model(name, pretrained=str(path), force_image_size=side).eval()
    batch = pixels(2, side)
    with torch.inference_mode():
        wanted = reference.encode_image(normalised(batch)).numpy()
    np.testing.assert_allclose(encoder.encode_images(batch).whole, wanted, atol=2e-5, rtol=1e-4)


def test_a_convolutional_tower_takes_any_size(small_weights: Callable[[str], Path]) -> None:
    path = small_weights("small-convnext")
    encoder = load_open_clip(f"open_clip:small-convnext/{path}@96", device="cpu")
    batch = pixels(1, 96)
    with torch.inference_mode():
        wanted = build("small-convnext").encode_image(normalised(batch)).numpy()
    np.testing.assert_allclose(encoder.encode_images(batch).whole, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "side", "near"), [("small-resnet", 100, 96), ("small-vit", 72, 64)]
)
def test_a_resolution_between_the_steps_names_the_nearest(
    small_weights: Callable[[str], Path], name: str, side: int, near: int
) -> None:
    with pytest.raises(EncoderError, match=rf"{side} is none: use @{near}$"):
        load_open_clip(f"open_clip:{name}/{small_weights(name)}@{side}", device="cpu")


def test_rn50_at_448_is_the_papers_encoder(tmp_path: Path) -> None:
    """The real architecture once, about 100 million random weights."""
    model = build("RN50")
    path = tmp_path / "rn50.pt"
    torch.save(model.state_dict(), path)
    encoder = load_open_clip(f"open_clip:RN50/{path}@448", device="cpu")
    pool = model.visual.attnpool
    positions = bicubic_reference(pool.positional_embedding.detach().double().numpy(), 14)
    pool.positional_embedding = torch.nn.Parameter(torch.tensor(positions, dtype=torch.float32))
    batch = pixels(1, 448)
    with torch.inference_mode():
        wanted = model.encode_image(normalised(batch)).numpy()
    found = encoder.encode_images(batch, regions=7)
    # Its weights are random, so its vectors are of no particular size.
    np.testing.assert_allclose(found.whole, wanted, atol=1e-5 * float(np.abs(wanted).max()))
    assert found.regions is not None
    assert found.regions.shape == (1, 49, 1024)
    assert encoder.info.encoder_id.startswith("open_clip_rn50_448_squash_")
