"""The writer ``diffusers`` for real, on tiny random pipelines; ``make test-diffusers`` runs it."""

import importlib.util
import json
import os
import pickle
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from taistore.errors import SyntheticError
from taistore.stopping import StopRequested, held, stop_on_signals
from taistore.synthetic.image_writer import StoredText, WrittenImage
from taistore.synthetic.writers import diffusers_writer as module
from taistore.synthetic.writers.diffusers_writer import diffusers_writer
from tests.diffusers.tiny_pipelines import (
    SIDE,
    break_weights,
    save_stable_diffusion,
    save_stable_diffusion_xl,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None,
    reason="needs diffusers (extra [diffusers]): make test-diffusers",
)

TEXTS = [StoredText(f"t{n}", n, f"a photo of {n} dogs on a sofa") for n in range(5)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_stable_diffusion(tmp_path_factory.mktemp("sd"))


def draw(
    model: Path, texts: Sequence[StoredText] = TEXTS[:2], *, per_text: int = 1, **options: Any
) -> dict[str, WrittenImage]:
    given: dict[str, Any] = {"steps": 2, "size": SIDE, "device": "cpu", **options}
    with diffusers_writer(per_text=per_text, seed=3, model=str(model), **given) as writer:
        requests = list(writer.requests(texts))
        made = list(writer.write(requests))
    assert [answer.request for answer in made] == requests
    return {answer.request.synthetic_id: answer for answer in made}


def pixels(made: dict[str, WrittenImage]) -> np.ndarray[Any, np.dtype[np.int16]]:
    shown = []
    for answer in made.values():
        assert isinstance(answer.image, Image.Image), answer
        shown.append(np.asarray(answer.image, dtype=np.int16))
    return np.stack(shown)


def test_an_image_depends_on_its_request_alone(plain: Path) -> None:
    four = pixels(draw(plain, TEXTS, per_text=2, batch=4))
    assert four.shape == (10, SIDE, SIDE, 3)
    assert np.array_equal(four, pixels(draw(plain, TEXTS, per_text=2, batch=4)))
    assert np.abs(four - pixels(draw(plain, TEXTS, per_text=2, batch=1))).max() <= 1
    assert np.abs(four[4:6] - pixels(draw(plain, TEXTS[2:3], per_text=2, batch=3))).max() <= 1
    # Two images of one text and of two texts are others.
    assert len({image.tobytes() for image in four}) == 10


def test_the_pixels_are_the_pipelines_own(plain: Path) -> None:
    diffusers: Any = importlib.import_module("diffusers")
    made = draw(plain, TEXTS[:1])
    (answer,) = made.values()
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(str(plain))
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(answer.request.seed or 0)
    drawn = pipeline(
        answer.request.text.text, generator=noise, num_inference_steps=2, height=SIDE, width=SIDE
    )
    assert np.array_equal(pixels(made)[0], np.asarray(drawn.images[0], dtype=np.int16))


def test_options_reach_the_pipeline(plain: Path) -> None:
    usual = pixels(draw(plain))
    assert not np.array_equal(usual, pixels(draw(plain, guidance=1.0)))
    assert not np.array_equal(usual, pixels(draw(plain, steps=4)))
    assert pixels(draw(plain, size=48)).shape == (2, 48, 48, 3)
    with diffusers_writer(per_text=3, seed=0, model=str(plain), batch=2, device="cpu") as writer:
        assert (writer.name, writer.model, writer.wanted(4)) == ("diffusers", "pipeline", 12)


def test_a_pipeline_of_another_kind(tmp_path: Path) -> None:
    shown = pixels(draw(save_stable_diffusion_xl(tmp_path), TEXTS, batch=3))
    assert shown.shape == (5, SIDE, SIDE, 3)
    assert len({image.tobytes() for image in shown}) == 5


def test_verdicts_of_the_safety_checker(tmp_path: Path, plain: Path) -> None:
    strict = draw(save_stable_diffusion(tmp_path / "strict", checker="strict"))
    assert {(answer.image, answer.reason) for answer in strict.values()} == {(None, "unsafe")}
    lenient = draw(save_stable_diffusion(tmp_path / "lenient", checker="lenient"))
    assert np.array_equal(pixels(lenient), pixels(draw(plain)))


def test_pixels_that_are_no_numbers(plain: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(plain, broken)
    break_weights(broken)
    made = draw(broken)
    assert {(answer.image, answer.reason) for answer in made.values()} == {(None, "not_finite")}


def test_it_says_nothing(plain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logs: Any = importlib.import_module("diffusers.utils.logging")
    before = logs.get_verbosity(), logs.is_progress_bar_enabled()
    # Longer than CLIP reads, which transformers remarks on.
    draw(plain, [StoredText("t", 0, "a dog and a sofa " * 40)])
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")
    assert (logs.get_verbosity(), logs.is_progress_bar_enabled()) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 30}, "size must be a multiple of 8 pixels"),
        ({"size": 0}, "size must be a multiple of 8 pixels"),
        ({"batch": 0}, "batch and steps must be at least 1"),
        ({"steps": 0}, "batch and steps must be at least 1"),
    ],
)
def test_a_wrong_option_is_named(plain: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SyntheticError, match=said):
        draw(plain, **options)


def test_a_model_that_is_none_is_named(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SyntheticError, match="needs model"):
        diffusers_writer(per_text=1, seed=0).__enter__()
    with pytest.raises(SyntheticError, match=r"no diffusers pipeline \(no model_index.json\)"):
        draw(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(plain, damaged)
    (damaged / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    # A proxy that is not there: nobody answers for the hub.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for model in (damaged, Path("nobody/no-such-model")):
        with pytest.raises(SyntheticError, match="cannot load the model") as caught:
            draw(model)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 450


def test_a_pipeline_that_takes_no_such_option(tmp_path: Path) -> None:
    diffusers: Any = importlib.import_module("diffusers")
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(SyntheticError, match="is a DDPMPipeline, which takes no prompt"):
        draw(tmp_path)


class _Trap:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("unet", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ],
)
def test_nothing_is_unpickled(plain: Path, tmp_path: Path, part: str, file: str) -> None:
    folder, sprung = tmp_path / "pickled", tmp_path / "sprung"
    shutil.copytree(plain, folder)
    (folder / part / f"{file}.safetensors").unlink()
    name = "pytorch_model.bin" if file == "model" else f"{file}.bin"
    (folder / part / name).write_bytes(pickle.dumps({"weight": _Trap(sprung)}))
    with pytest.raises(SyntheticError, match="cannot load the model"):
        draw(folder)
    assert not sprung.exists()


def test_no_code_of_a_model_runs(plain: Path, tmp_path: Path) -> None:
    folder, sprung = tmp_path / "coded", tmp_path / "sprung"
    shutil.copytree(plain, folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = ["own_pipeline", "OwnPipeline"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "own_pipeline.py").write_text(f"import os\nos.mkdir({str(sprung)!r})\n")
    with pytest.raises(SyntheticError):
        draw(folder)
    assert not sprung.exists()


class _Short:
    """Stands where the pipeline is: has memory for ``most`` images at once."""

    def __init__(self, pipeline: Any, most: int) -> None:
        self.pipeline = pipeline
        self.most = most
        self.calls: list[int] = []

    def __call__(self, *, prompt: list[str], **options: Any) -> Any:
        self.calls.append(len(prompt))
        if len(prompt) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.pipeline(prompt=prompt, **options)


def test_memory_for_fewer_images(plain: Path) -> None:
    whole = pixels(draw(plain, TEXTS, batch=4))
    with diffusers_writer(
        per_text=1, seed=3, model=str(plain), batch=4, steps=2, size=SIDE, device="cpu"
    ) as writer:
        short = writer._pipeline = _Short(writer._pipeline, 2)
        made = list(writer.write(list(writer.requests(TEXTS))))
    assert short.calls == [4, 2, 2, 1]
    shown = pixels({answer.request.synthetic_id: answer for answer in made})
    assert np.abs(whole - shown).max() <= 1


def test_memory_for_no_image(plain: Path) -> None:
    with diffusers_writer(
        per_text=1, seed=3, model=str(plain), batch=2, steps=2, size=SIDE, device="cpu"
    ) as writer:
        writer._pipeline = _Short(writer._pipeline, 0)
        with pytest.raises(SyntheticError, match="a smaller --size") as caught:
            list(writer.write(list(writer.requests(TEXTS))))
    assert "--batch" in str(caught.value)


class _Choosy:
    """Stands where the pipeline is: stumbles over a word."""

    def __init__(self, pipeline: Any, word: str) -> None:
        self.pipeline = pipeline
        self.word = word

    def __call__(self, *, prompt: list[str], **options: Any) -> Any:
        if any(self.word in text for text in prompt):
            raise RuntimeError("shape mismatch\nin attention")
        return self.pipeline(prompt=prompt, **options)


def test_an_image_that_fails_costs_only_itself(plain: Path) -> None:
    with diffusers_writer(
        per_text=1, seed=3, model=str(plain), batch=3, steps=2, size=SIDE, device="cpu"
    ) as writer:
        real = writer._pipeline
        writer._pipeline = _Choosy(real, " 1 dogs")
        made = {
            answer.request.text.text_id: answer
            for answer in writer.write(list(writer.requests(TEXTS)))
        }
        poor = made.pop("t1")
        assert poor.reason == "unanswered:pipeline_error"
        assert poor.detail == "shape mismatch in attention"
        assert all(answer.image for answer in made.values())
        writer._pipeline = _Choosy(real, "dogs")
        with pytest.raises(SyntheticError, match="cannot draw: shape mismatch in attention"):
            list(writer.write(list(writer.requests(TEXTS))))


def test_a_signal_ends_it_between_two_steps(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    after_step = module._after_step

    def press(*given: object) -> dict[str, object]:
        nonlocal steps
        steps += 1
        if steps == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return after_step(*given)

    monkeypatch.setattr(module, "_after_step", press)
    with pytest.raises(StopRequested), stop_on_signals(), held():
        draw(plain, steps=8)
    assert steps == 2
