"""The open_clip encoder gives the vectors that open_clip gives, and refuses what it cannot do."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from skimage import data as skimage_data

from taistore.encoders.open_clip.encoder import OpenClipEncoder, load_open_clip
from taistore.encoders.pixels import cut_long_side
from taistore.encoders.precision import bf16_units, resolve_precision
from taistore.encoders.protocol import Encoder
from taistore.errors import EncoderError, TextError
from tests.encoders.small_models import build, normalised, pixels, save

TEXTS = [
    "a photo of a cat",
    "Two dogs, a bicycle and a traffic light on a rainy street in the evening!",
    "",
    "!! 0 !",
    "ein Foto: Bär & Ähre",
]
KINDS = ["small-resnet", "small-vit", "small-vit-average", "small-custom-text", "small-coca"]


class Load(Protocol):
    """Loads a small encoder."""

    def __call__(
        self, name: str, options: str = "", precision: str = "auto"
    ) -> OpenClipEncoder: ...


def _photo(name: str) -> NDArray[np.uint8]:
    photo: NDArray[np.uint8] = getattr(skimage_data, name)()
    return photo


@pytest.fixture(scope="module")
def load(small_weights: Callable[[str], Path]) -> Load:
    """Loads a small encoder by name, options and precision, each only once."""
    known: dict[tuple[str, str, str], OpenClipEncoder] = {}

    def loaded(name: str, options: str = "", precision: str = "auto") -> OpenClipEncoder:
        key = (name, options, precision)
        if key not in known:
            spec = f"open_clip:{name}/{small_weights(name)}{options}"
            known[key] = load_open_clip(spec, device="cpu", precision=precision)
        return known[key]

    return loaded


@pytest.mark.parametrize("name", [*KINDS, "small-convnext", "small-map"])
def test_at_its_own_resolution_it_encodes_as_open_clip_does(load: Load, name: str) -> None:
    encoder: Encoder = load(name)
    model = build(name)
    batch = pixels(3, encoder.info.resolution)
    with torch.inference_mode():
        images = model.encode_image(normalised(batch), normalize=False).numpy()
        texts = model.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=False).numpy()
    whole = encoder.encode_images(batch).whole
    assert whole.dtype == np.float32
    assert whole.shape == (3, 32)
    np.testing.assert_allclose(whole, images, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5, rtol=1e-4)
    assert np.abs(images).max() > 0.1
    assert np.abs(images[0] - images[1]).max() > 0.01


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("small-resnet", True),
        ("small-custom-text", True),
        ("small-vit-average", False),
        ("small-coca", False),
    ],
)
def test_padding_is_cut_only_where_the_model_cannot_see_it(
    load: Load, name: str, cuts: bool
) -> None:
    encoder = load(name)
    assert encoder._texts.cuts_padding is cuts
    seen: list[int] = []
    tower = getattr(encoder._model, "text", encoder._model)
    tower.token_embedding.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    encoder.encode_texts(["a cat", "two cats"])
    assert seen == [4 if cuts else encoder.info.context_length]


def test_texts_keep_their_order_and_do_not_depend_on_each_other(load: Load) -> None:
    encoder = load("small-resnet")
    texts = [f"{text} {'and more ' * (i % 7)}" for i, text in enumerate(TEXTS * 60)]
    together = encoder.encode_texts(texts)  # two batches, sorted by length
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts[::9]])
    np.testing.assert_allclose(together[::9], alone, atol=1e-5)


def test_vectors_are_raw(load: Load) -> None:
    encoder = load("small-coca")  # open_clip normalises CoCa's unless told not to
    norms = np.linalg.norm(encoder.encode_images(pixels(4, 64)).whole, axis=1)
    assert np.abs(norms - 1).min() > 0.01


def test_it_is_identified_by_model_weights_resolution_and_resize(tmp_path: Path) -> None:
    path = save("small-resnet", tmp_path)
    info = load_open_clip(f"open_clip:small-resnet/{path}", device="cpu").info
    assert info.encoder_id == f"open_clip_small_resnet_64_squash_{info.weights_digest[:10]}"
    assert info.spec == f"open_clip:small-resnet/{path}@64"
    assert (info.library, info.model, info.weights) == ("open_clip", "small-resnet", "weights.pt")
    assert (info.resolution, info.resize, info.dim, info.context_length) == (64, "squash", 32, 77)
    assert load_open_clip(info.spec, device="cpu").info == info
    other = save("small-resnet", tmp_path, seed=1, filename="other.pt")
    changed = [f"{path}@96", f"{path},crop", f"{other}"]
    ids = {load_open_clip(f"open_clip:small-resnet/{c}", device="cpu").info for c in changed}
    quick = load_open_clip(f"open_clip:small-resnet-quickgelu/{path}", device="cpu").info
    assert len({info.encoder_id, quick.encoder_id, *(i.encoder_id for i in ids)}) == 5


@pytest.mark.parametrize(("options", "mode"), [(",crop", "shortest"), (",squash", "squash")])
def test_prepared_pixels_are_those_of_open_clips_transform(
    load: Load, options: str, mode: str
) -> None:
    encoder = load("small-vit", options)
    for photo in (_photo("astronaut")[:, :300], _photo("coffee"), _photo("chelsea")[:40, :300]):
        image = Image.fromarray(photo)
        wanted = image_transform_v2(PreprocessCfg(size=64, resize_mode=mode), is_train=False)
        ours = encoder.prepare(image)
        assert ours.dtype == np.uint8
        assert ours.shape == (3, 64, 64)
        # PIL and torch round their bicubic weights differently: one level of 255 at most.
        difference = normalised(ours[None])[0] - wanted(image)
        assert float(difference.abs().max()) < 1.1 / 255 / 0.26


def test_a_crop_of_an_extreme_panorama_stays_small(load: Load) -> None:
    encoder = load("small-vit", ",crop")
    wide = Image.new("RGB", (60_000, 6), (10, 20, 30))
    wide.paste((200, 100, 50), (29_000, 0, 31_000, 6))
    assert encoder.prepare(wide)[:, 32, 32].tolist() == [200, 100, 50]
    assert cut_long_side(wide).size == (48, 6)
    assert cut_long_side(wide.rotate(90, expand=True)).size == (6, 48)
    assert cut_long_side(wide.resize((48, 6))).size == (48, 6)


def test_any_mode_of_image_and_any_thread_will_do(load: Load) -> None:
    encoder = load("small-vit")
    image = Image.fromarray(_photo("coffee"))
    modes = [image, image.convert("L"), image.convert("RGBA"), image.convert("P")]
    with ThreadPoolExecutor(4) as pool:
        prepared = list(pool.map(encoder.prepare, modes * 4))
    assert {array.shape for array in prepared} == {(3, 64, 64)}
    np.testing.assert_array_equal(prepared[0], prepared[4])


def test_nothing_in_nothing_out(load: Load) -> None:
    encoder = load("small-vit")
    assert encoder.encode_texts([]).shape == (0, 32)
    assert encoder.count_tokens([]) == []
    none = encoder.encode_images(np.empty((0, 3, 64, 64), dtype=np.uint8), regions=2)
    assert none.whole.shape == (0, 32)
    assert none.regions is not None
    assert none.regions.shape == (0, 4, 32)


def test_pixels_of_another_shape_are_refused(load: Load) -> None:
    encoder = load("small-vit")
    for wrong in (pixels(1, 32), pixels(1, 64)[0], pixels(1, 64).astype(np.float32)):
        with pytest.raises(EncoderError, match=r"takes uint8 \[B, 3, 64, 64\]"):
            encoder.encode_images(wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_read_only_pixels_are_encoded_without_a_warning(load: Load) -> None:
    encoder = load("small-vit")
    batch = pixels(1, 64)
    wanted = encoder.encode_images(batch.copy()).whole
    batch.flags.writeable = False
    np.testing.assert_array_equal(encoder.encode_images(batch).whole, wanted)


def test_tokens_are_counted_before_any_cut(load: Load) -> None:
    encoder = load("small-vit")  # 20 tokens
    texts = ["", "a cat", "cat " * 18, "cat " * 19, "cat " * 500]
    assert encoder.count_tokens(texts) == [2, 4, 20, 21, 502]
    encoder.encode_texts(texts[:3])
    with pytest.raises(
        TextError, match=r"text 4 has 21 tokens, small-vit reads at most 20: .*'cat"
    ):
        encoder.encode_texts(texts)


def test_a_text_with_a_mark_of_the_tokenizer_is_refused(load: Load) -> None:
    encoder = load("small-vit")
    with pytest.raises(TextError, match=r"text 2 holds a mark .* 'a <end_of_text> dog'"):
        encoder.encode_texts(["a cat", "a <end_of_text> dog"])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", [*KINDS, "small-convnext", "small-map"])
def test_half_precision_stays_close(load: Load, name: str, precision: str) -> None:
    full, half = load(name), load(name, precision=precision)
    assert full.info == half.info
    grid = 0 if name == "small-coca" else 2
    batch = pixels(4, full.info.resolution)
    wanted, found = full.encode_images(batch, regions=grid), half.encode_images(batch, regions=grid)
    pairs = [(wanted.whole, found.whole), (full.encode_texts(TEXTS), half.encode_texts(TEXTS))]
    if wanted.regions is not None and found.regions is not None:
        pairs.append((wanted.regions, found.regions))
    for a, b in pairs:
        assert b.dtype == np.float32
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        # On a processor without units for it bf16 is fp32.
        least = 1e-8 if precision == "fp16" or bf16_units() else -1e-6
        assert least < 1 - cosine.min() < (5e-3 if precision == "bf16" else 1e-4)


def test_bf16_on_a_processor_without_units_is_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_precision("bf16", cpu) == torch.bfloat16
    assert resolve_precision("auto", cpu) == torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    assert resolve_precision("bf16", cpu) == torch.float32
    assert resolve_precision("bf16", torch.device("cuda")) == torch.bfloat16


def test_sums_of_a_transformer_in_bf16_stay_in_float32(load: Load) -> None:
    if not bf16_units():
        pytest.skip("needs a processor with bf16 units")
    full, half = load("small-vit"), load("small-vit", precision="bf16")
    batch = pixels(8, 64)
    pairs = [
        (full.encode_images(batch).whole, half.encode_images(batch).whole),
        (full.encode_texts(TEXTS), half.encode_texts(TEXTS)),
    ]
    for a, b in pairs:
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        assert 1 - cosine.min() < 1e-4


def test_auto_is_single_precision_on_the_cpu(load: Load) -> None:
    encoder = load("small-resnet", precision="auto")
    assert {p.dtype for p in encoder._model.parameters()} == {torch.float32}


def test_loading_does_not_shift_the_callers_random_numbers(
    small_weights: Callable[[str], Path],
) -> None:
    before = torch.random.get_rng_state()
    load_open_clip(f"open_clip:small-vit/{small_weights('small-vit')}", device="cpu")
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_overflow_is_noticed(tmp_path: Path) -> None:
    model = build("small-vit")
    model.visual.proj.data *= 1e6
    torch.save(model.state_dict(), tmp_path / "w.pt")
    spec = f"open_clip:small-vit/{tmp_path / 'w.pt'}"
    encoder = load_open_clip(spec, device="cpu", precision="fp16")
    with pytest.raises(
        EncoderError, match="overflows in float16: use precision=bf16 or precision=fp32"
    ):
        encoder.encode_images(pixels(1, 64))


def test_devices_and_precisions_that_are_not_there(tmp_path: Path) -> None:
    path = save("small-vit", tmp_path)
    for device, reason in (("cuda:99", "torch sees"), ("tpu9", "is unknown")):
        with pytest.raises(EncoderError, match=reason):
            load_open_clip(f"open_clip:small-vit/{path}", device=device)
    with pytest.raises(EncoderError, match=r"precision 'int8' is unknown: use auto, bf16"):
        load_open_clip(f"open_clip:small-vit/{path}", precision="int8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", KINDS)
def test_the_gpu_agrees_with_the_cpu(tmp_path: Path, name: str) -> None:
    path = save(name, tmp_path)
    spec = f"open_clip:{name}/{path}"
    cpu, gpu = load_open_clip(spec, device="cpu"), load_open_clip(spec, device="cuda")
    batch = pixels(4, cpu.info.resolution)
    pairs = [
        (cpu.encode_images(batch).whole, gpu.encode_images(batch).whole),
        (cpu.encode_texts(TEXTS), gpu.encode_texts(TEXTS)),
    ]
    for a, b in pairs:
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        assert 1 - cosine.min() < 1e-4
