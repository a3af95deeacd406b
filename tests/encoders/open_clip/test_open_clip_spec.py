"""How open_clip encoders are written."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.encoders.open_clip.spec import (
    WEIGHTS_SUFFIXES,
    OpenClipSpec,
    parse_open_clip_spec,
)
from taistore.encoders.protocol import ResizeMode
from taistore.errors import EncoderError


@pytest.mark.parametrize(
    ("text", "model", "weights", "resolution", "resize"),
    [
        ("open_clip:RN50/openai", "RN50", "openai", None, "squash"),
        ("open_clip:RN50/openai@448", "RN50", "openai", 448, "squash"),
        ("open_clip:RN50/openai@448,crop", "RN50", "openai", 448, "crop"),
        (
            "open_clip:ViT-B-32/laion2b_s34b_b79k,squash",
            "ViT-B-32",
            "laion2b_s34b_b79k",
            None,
            "squash",
        ),
        ("open_clip:RN50//a/b/w.pt", "RN50", "/a/b/w.pt", None, "squash"),
        ("open_clip:RN50//a/b/w.pt@448,crop", "RN50", "/a/b/w.pt", 448, "crop"),
        ("open_clip:RN50/w.safetensors@96", "RN50", "w.safetensors", 96, "squash"),
        ("open_clip:RN50//a, b@2/c@3,crop.pt,crop", "RN50", "/a, b@2/c@3,crop.pt", None, "crop"),
    ],
)
def test_every_form_is_read(
    text: str, model: str, weights: str, resolution: int | None, resize: ResizeMode
) -> None:
    wanted = OpenClipSpec(model=model, weights=weights, resolution=resolution, resize=resize)
    assert parse_open_clip_spec(text) == wanted
    assert parse_open_clip_spec(f"{text},no-positions") == replace(wanted, positions=False)


@given(
    model=st.text("ABab-0189", min_size=1),
    weights=st.text("ab_/@,.0 é", max_size=20).map(lambda t: f"/{t}w"),
    suffix=st.sampled_from(WEIGHTS_SUFFIXES),
    resolution=st.none() | st.integers(32, 4096),
    crop=st.booleans(),
    positions=st.booleans(),
)
def test_what_is_written_is_read_back(
    *, model: str, weights: str, suffix: str, resolution: int | None, crop: bool, positions: bool
) -> None:
    spec = OpenClipSpec(
        model=model,
        weights=weights + suffix,
        resolution=resolution,
        resize="crop" if crop else "squash",
        positions=positions,
    )
    assert parse_open_clip_spec(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    ["open_clip:", "open_clip:RN50", "open_clip:/openai", "open_clip:RN50/", "RN50/openai"],
)
def test_another_form_shows_the_grammar(text: str) -> None:
    with pytest.raises(EncoderError, match=r"is not of the form open_clip:<model>/.*RN50/openai"):
        parse_open_clip_spec(text)


@pytest.mark.parametrize("resolution", [0, 31, 4097, 10**9])
def test_a_resolution_out_of_reach_is_refused(resolution: int) -> None:
    with pytest.raises(EncoderError, match=f"resolution {resolution} is outside 32 to 4096"):
        parse_open_clip_spec(f"open_clip:RN50/openai@{resolution}")


def test_a_path_that_is_no_weights_file_names_the_endings() -> None:
    with pytest.raises(EncoderError, match=r"'/models/rn50' is neither .* ends in \.pt, \.pth"):
        parse_open_clip_spec("open_clip:RN50//models/rn50")


def test_paths_become_absolute_and_tags_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def canonical(text: str) -> str:
        return str(parse_open_clip_spec(text).canonical(224))

    assert canonical("open_clip:RN50/w.pt") == f"open_clip:RN50/{tmp_path}/w.pt@224"
    assert (
        canonical("open_clip:RN50/~/w.pt,crop") == f"open_clip:RN50/{tmp_path}/home/w.pt@224,crop"
    )
    assert canonical("open_clip:RN50/YFCC15M@448,squash") == "open_clip:RN50/yfcc15m@448"
    assert canonical("open_clip:ViT-B-16/datacomp-l-s1b") == "open_clip:ViT-B-16/datacomp_l_s1b@224"
