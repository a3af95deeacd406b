"""OpenAI's TorchScript archives become files of tensors that say how they were trained."""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from taistore.encoders.open_clip import conversion
from taistore.encoders.open_clip.conversion import convert_checkpoint, openai_files
from taistore.encoders.open_clip.encoder import load_open_clip
from taistore.errors import EncoderError
from taistore_cli.main import main
from tests.encoders.small_models import build, normalised, pixels

QUICK = "small-resnet-quickgelu"
TEXTS = ["a photo of a cat", "two dogs and a bicycle"]


def archive(path: Path, *, name: str = QUICK) -> Path:
    """A scripted model whose tensors are named as in OpenAI's files, with their sizes beside."""
    model = build(name)
    for size, value in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)):
        delattr(model, size) if hasattr(model, size) else None
        model.register_buffer(size, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; the archives remain
        trace: Callable[..., Any] = torch.jit.trace_module
        tokens = open_clip.get_tokenizer(name)(TEXTS)
        inputs = {"encode_image": normalised(pixels(1, 64)), "encode_text": tokens}
        trace(model, inputs).save(path)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a small ResNet with QuickGELU."""
    return archive(tmp_path_factory.mktemp("archive") / "small.pt")


def test_a_converted_file_gives_the_vectors_of_its_model(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.safetensors"
    found = convert_checkpoint(source, target, model=QUICK, trust=True)
    assert found.spec == f"open_clip:{QUICK}/{target}"
    assert (found.model, found.published) == (QUICK, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.safetensors"]
    with safe_open(target, framework="pt") as file:
        assert file.metadata() == {
            "taistore.quick_gelu": "true",
            "taistore.model": QUICK,
            "taistore.source": "small.pt",
            "taistore.source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        }
        assert found.tensors == len(list(file.keys()))
        assert not {"input_resolution", "attn_mask"} & set(file.keys())
    encoder, model, batch = load_open_clip(found.spec, device="cpu"), build(QUICK), pixels(2, 64)
    with torch.inference_mode():
        images = model.encode_image(normalised(batch)).numpy()
        texts = model.encode_text(open_clip.get_tokenizer(QUICK)(TEXTS)).numpy()
    np.testing.assert_allclose(encoder.encode_images(batch).whole, images, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5, rtol=1e-4)


def test_a_converted_file_is_refused_under_the_other_activation(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "small.safetensors"
    convert_checkpoint(source, target, model=QUICK, trust=True)
    with pytest.raises(EncoderError, match=r"trained with QuickGELU \(told by its metad") as caught:
        load_open_clip(f"open_clip:small-resnet/{target}", device="cpu")
    assert f"which small-resnet is not: write open_clip:{QUICK}/{target}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_openai_published_is_known_by_its_digest(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = openai_files()
    assert known["afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"] == "RN50"
    assert len(known) == 9
    assert all(open_clip.get_model_config(f"{model}-quickgelu") for model in known.values())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setattr(conversion, "openai_files", lambda: {digest: "small-resnet"})
    with pytest.raises(EncoderError, match=r"is OpenAI's small-resnet, by its SHA-256: leave mode"):
        convert_checkpoint(source, tmp_path / "a.safetensors", model="small-resnet")
    found = convert_checkpoint(source, tmp_path / "a.safetensors")
    assert (found.published, found.model) == ("small-resnet", QUICK)


def test_an_unknown_archive_is_not_loaded_unless_it_is_trusted(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(torch.jit, "load", load)
    target = tmp_path / "a.safetensors"
    with pytest.raises(EncoderError, match=r"no file that OpenAI published \(SHA-256 [0-9a-f]{64}"):
        convert_checkpoint(source, target, model=QUICK)
    with pytest.raises(EncoderError, match=r"name the model= that it was trained as"):
        convert_checkpoint(source, target, trust=True)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_converted_is_said_in_one_line(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    torch.save(build("small-vit").state_dict(), tmp_path / "plain.pt")
    # As a download that lost a part of its data, in an archive that is whole.
    spoilt = source.read_bytes().replace(b"__torch__", b"__t0rch__")
    (tmp_path / "spoilt.pt").write_bytes(spoilt)
    for given, to, model, reason in (
        (tmp_path / "none.pt", target, QUICK, "is not a file"),
        (tmp_path / "plain.pt", target, QUICK, "is no TorchScript archive"),
        (tmp_path / "spoilt.pt", target, QUICK, "is damaged or incomplete"),
        (source, tmp_path / "a.pt", QUICK, r"does not end in \.safetensors"),
        (source, tmp_path / "there.safetensors", QUICK, "is there already"),
        (source, tmp_path / "no" / "a.safetensors", QUICK, "cannot be written"),
        (source, target, "small-resnet", f"small-resnet is not: name model={QUICK}"),
        (source, target, "small-vit-quickgelu", "has no model 'small-vit-quickgelu'"),
        (source, target, "RN50-quickgelu", "are not weights of open_clip's RN50-quickgelu"),
    ):
        with pytest.raises(EncoderError, match=reason) as caught:
            convert_checkpoint(given, to, model=model, trust=True)
        assert "\n" not in str(caught.value)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["plain.pt", "spoilt.pt", "there.safetensors"]
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"


def test_the_command_prints_what_to_do_next(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.safetensors"
    given = ["convert-checkpoint", str(source), str(target), "--model", QUICK]
    refused = CliRunner().invoke(main, given)
    assert refused.exit_code == 1
    assert "give --trust where you know who made it" in refused.stderr
    assert refused.stderr.count("\n") == 1
    done = CliRunner().invoke(main, [*given, "--trust", "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["spec"] == f"open_clip:{QUICK}/{target}"
    help_text = CliRunner().invoke(main, ["convert-checkpoint", "--help"]).stdout
    assert "holds a program, and loading it may run it" in help_text
