"""Weights files: every container is read, none gets to run code, a wrong one says what is wrong."""

import json
import logging
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from taistore.encoders.open_clip.encoder import OpenClipEncoder, load_open_clip
from taistore.encoders.weights import read_weights, weights_digest
from taistore.errors import EncoderError
from tests.encoders.small_models import MEAN, STD, build, pixels, save

TEXTS = ["a photo of a cat"]


def _load(name: str, path: Path) -> OpenClipEncoder:
    return load_open_clip(f"open_clip:{name}/{path}", device="cpu")


def test_every_container_of_the_same_weights_is_the_same_encoder(tmp_path: Path) -> None:
    state = build("small-resnet-quickgelu").half().float().state_dict()
    halved = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(state, tmp_path / "plain.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(halved, tmp_path / "half.bin")
    prefixed = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "state_dict": prefixed, "name": "run"}, tmp_path / "epoch.ckpt")
    save_file(state, tmp_path / "safe.safetensors")
    files = ["plain.pt", "old.pt", "half.bin", "epoch.ckpt", "safe.safetensors"]
    encoders = [_load("small-resnet-quickgelu", tmp_path / name) for name in files]
    assert len({encoder.info.encoder_id for encoder in encoders}) == 1
    assert [encoder.info.weights for encoder in encoders] == files
    batch = pixels(1, 64)
    for encoder in encoders[1:]:
        np.testing.assert_array_equal(encoder.encode_texts(TEXTS), encoders[0].encode_texts(TEXTS))
        np.testing.assert_array_equal(
            encoder.encode_images(batch).whole, encoders[0].encode_images(batch).whole
        )


def test_one_changed_value_is_another_encoder() -> None:
    tensors = dict(build("small-vit").state_dict())
    before = weights_digest(tensors)
    assert before == weights_digest(dict(reversed(tensors.items())))
    tensors["visual.proj"] = tensors["visual.proj"].clone()
    tensors["visual.proj"][3, 4] += 1e-3
    assert weights_digest(tensors) != before


class _Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.witness,)


def test_no_container_gets_to_run_code(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    torch.save({"state_dict": _Evil(witness)}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(_Evil(witness), protocol=2))
    for name in ("zip.pt", "raw.pt"):
        with pytest.raises(EncoderError, match=rf"{name} holds Python objects, which are not run"):
            read_weights(tmp_path / name)
    assert not witness.exists()


def test_damaged_files_are_named_in_one_line(tmp_path: Path) -> None:
    good = save("small-resnet", tmp_path).read_bytes()
    save_file(build("small-resnet").state_dict(), tmp_path / "good.safetensors")
    safe = (tmp_path / "good.safetensors").read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    harm = {
        "empty.pt": b"",
        "cut.pt": good[: len(good) // 2],
        "page.pt": b"<!doctype html><p>404",
        "pointer.pt": pointer,
        "empty.safetensors": b"",
        "cut.safetensors": safe[: len(safe) // 2],
        "pointer.safetensors": pointer,
    }
    for name, content in harm.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EncoderError, match="is damaged, incomplete or not a") as caught:
            read_weights(tmp_path / name)
        message = str(caught.value)
        assert str(tmp_path / name) in message
        assert f"({len(content):,} bytes; " in message
        assert "\n" not in message
        assert len(message) < 400


def test_a_torchscript_archive_is_refused_with_the_way_out(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; the archives remain
        trace: Callable[..., Any] = torch.jit.trace
        trace(module, torch.zeros(1, 2)).save(tmp_path / "RN50.pt")
    with pytest.raises(EncoderError, match=r"RN50\.pt is a TorchScript archive.*convert-check"):
        read_weights(tmp_path / "RN50.pt")


def test_files_that_are_not_there_or_hold_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"none\.pt is not there: check the path"):
        read_weights(tmp_path / "none.pt")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(EncoderError, match=r"folder\.pt is a directory"):
        read_weights(tmp_path / "folder.pt")
    torch.save({"epoch": 3}, tmp_path / "bare.pt")
    with pytest.raises(EncoderError, match=r"bare\.pt holds no tensors"):
        read_weights(tmp_path / "bare.pt")


@pytest.mark.parametrize(
    ("trained", "named", "reason"),
    [
        ("small-vit", "small-resnet", r"visual\.bn1\.weight is missing there"),
        ("small-resnet", "small-vit", r"visual\.class_embedding is missing there"),
        ("small-coca", "small-custom-text", r"text\.text_projection\.weight is missing there"),
    ],
)
def test_another_architectures_weights_are_refused(
    small_weights: Callable[[str], Path], trained: str, named: str, reason: str
) -> None:
    path = small_weights(trained)
    with pytest.raises(EncoderError, match=reason) as caught:
        _load(named, path)
    assert f"{path} are not weights of open_clip's {named}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_width_name_the_first_difference(tmp_path: Path) -> None:
    model = build("small-vit", embed_dim=16)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with pytest.raises(EncoderError, match=r"text_projection is \(32, 16\) there and \(32, 32\)"):
        _load("small-vit", tmp_path / "w.pt")


def test_a_config_beside_the_weights_says_how_to_use_them(tmp_path: Path) -> None:
    path = save("small-resnet", tmp_path)
    before = _load("small-resnet", path)
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "interpolation": "bilinear"}
    sidecar = tmp_path / "open_clip_config.json"
    content = {"model_cfg": {"quick_gelu": True}, "preprocess_cfg": preprocess}
    sidecar.write_text(json.dumps(content), encoding="utf-8")
    after = _load("small-resnet", path)
    quick = _load("small-resnet-quickgelu", path)
    assert after.info.model == "small-resnet-quickgelu"
    assert after.info.encoder_id == quick.info.encoder_id != before.info.encoder_id
    assert np.abs(after.encode_texts(TEXTS) - before.encode_texts(TEXTS)).max() > 1e-4
    batch = pixels(1, 64)
    mean, std = (np.array(preprocess[key], dtype=np.float32) for key in ("mean", "std"))
    shifted = (batch / 255 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1) * STD + MEAN
    with torch.inference_mode():
        plain = torch.from_numpy(((shifted - MEAN) / STD).astype(np.float32))
        wanted = build("small-resnet").encode_image(plain).numpy()
    np.testing.assert_allclose(after.encode_images(batch).whole, wanted, atol=1e-4)
    sidecar.write_text("{}", encoding="utf-8")
    with pytest.raises(EncoderError, match=r"open_clip_config\.json is not an open_clip config"):
        _load("small-resnet", path)


def test_a_file_that_may_want_quickgelu_is_warned_of(
    small_weights: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="taistore"):
        _load("small-vit", small_weights("small-vit"))
        assert caplog.messages == []
        _load("small-resnet", small_weights("small-resnet"))
    (message,) = caplog.messages
    assert "written open_clip:small-resnet-quickgelu/" in message


def _known(name: str, path: Path) -> str:
    """What a file is refused with."""
    with pytest.raises(EncoderError) as caught:
        _load(name, path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_of_openais_kind_is_refused_under_a_name_with_gelu(tmp_path: Path) -> None:
    state = build("small-resnet-quickgelu").state_dict()
    sizes = {name: torch.tensor(9) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save(state | sizes, tmp_path / "openai.pt")
    message = _known("small-resnet", tmp_path / "openai.pt")
    assert "was trained with QuickGELU (told by the context_length in it" in message
    assert message.endswith(f"write open_clip:small-resnet-quickgelu/{tmp_path / 'openai.pt'}")
    assert _load("small-resnet-quickgelu", tmp_path / "openai.pt").info.dim == 32


def test_a_published_file_is_known_by_its_name(tmp_path: Path) -> None:
    name = "rn50-quickgelu-yfcc15m-455df137.pt"
    save("small-resnet", tmp_path, filename=name)
    assert f"(told by its name, {name})" in _known("small-resnet", tmp_path / name)
    hub = "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    folder = tmp_path / hub / "snapshots" / "1"
    folder.mkdir(parents=True)
    path = save("small-resnet", folder)
    message = _known("small-resnet-quickgelu", path)
    assert f"was trained with GELU (told by its name, {hub})" in message
    assert message.endswith(f"write open_clip:small-resnet/{path}")
    assert _load("small-resnet", path).info.model == "small-resnet"


def test_a_config_beside_a_gelu_file_refuses_the_name_with_quickgelu(tmp_path: Path) -> None:
    path = save("small-resnet", tmp_path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    assert "(told by open_clip_config.json)" in _known("small-resnet-quickgelu", path)
    assert _load("small-resnet", path).info.model == "small-resnet"


def test_what_the_file_says_of_itself_comes_first(tmp_path: Path) -> None:
    state = build("small-resnet-quickgelu").state_dict()
    path = tmp_path / "own.safetensors"
    save_file(state, path, {"taistore.quick_gelu": "false"})
    config = {"model_cfg": {"quick_gelu": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert "trained with GELU (told by its metadata)" in _known("small-resnet-quickgelu", path)
    assert _load("small-resnet", path).info.model == "small-resnet"
