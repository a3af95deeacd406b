"""The writer diffusers, on pipelines of random weights that are saved and loaded as real ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import taistore
from taistore.errors import SyntheticError
from taistore.synthetic.image_writer import UNANSWERED, ImageRequest, StoredText, numbered
from taistore.synthetic.writers.diffusers_writer import DiffusersWriter, diffusers_writer
from taistore_cli.main import main
from tests.fakes import ColourEncoder
from tests.synthetic.tiny_pipeline import save_tiny_pipeline

diffusers: Any = pytest.importorskip("diffusers", reason="the extra [diffusers] is not installed")

TEXTS = [StoredText(f"{n:032x}", n, text) for n, text in enumerate(("a dog", "a cat", "a bird"))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_pipeline(tmp_path_factory.mktemp("plain")))


def pixels(written: Sequence[Any]) -> "np.ndarray[Any, Any]":
    return np.stack([np.asarray(one.image, dtype=np.int16) for one in written])


def drawn(model: str, *, batch: int, **settings: Any) -> "np.ndarray[Any, Any]":
    """All pictures of the texts, in the order of the requests."""
    with diffusers_writer(model=model, per_text=2, steps=2, batch=batch, **settings) as writer:
        requests = [r for r in writer.requests(TEXTS) if isinstance(r, ImageRequest)]
        found = [
            one
            for low in range(0, len(requests), batch)
            for one in writer.write(requests[low : low + batch])
        ]
    assert [one.request for one in found] == requests
    return pixels(found)


def test_a_picture_depends_on_its_request_alone(model: str) -> None:
    one = drawn(model, batch=1)
    assert one.shape == (6, 32, 32, 3)
    assert np.array_equal(one, drawn(model, batch=1))
    assert np.abs(one - drawn(model, batch=4)).max() <= 1  # rounding of other matrix products
    # Each is another one: other numbers, texts and job seeds.
    others = np.concatenate([one, drawn(model, batch=4, seed=1)])
    apart = np.abs(others[:, None] - others).mean(axis=(2, 3, 4))
    assert apart[~np.eye(len(others), dtype=bool)].min() > 5


def test_pictures_are_those_of_the_bare_pipeline(model: str) -> None:
    bare: Any = diffusers.StableDiffusionPipeline.from_pretrained(model)
    bare.set_progress_bar_config(disable=True)
    request = next(numbered(TEXTS, 1, seed=7))
    assert request.seed is not None
    wanted = bare(
        request.text.text,
        num_inference_steps=3,
        guidance_scale=2.0,
        height=48,
        width=48,
        generator=torch.Generator().manual_seed(request.seed),
    ).images[0]
    with diffusers_writer(model=model, seed=7, steps=3, guidance=2.0, size=48) as writer:
        [made] = writer.write([request])
    assert np.abs(pixels([made])[0] - np.asarray(wanted, dtype=np.int16)).max() <= 1


def test_other_pipelines(tmp_path: Path) -> None:
    assert drawn(str(save_tiny_pipeline(tmp_path, kind="xl")), batch=2).shape == (6, 32, 32, 3)


def test_what_a_safety_checker_takes_away_is_a_reject(tmp_path: Path) -> None:
    model = str(save_tiny_pipeline(tmp_path, kind="unsafe"))
    with diffusers_writer(model=model, per_text=1, steps=1) as writer:
        [found] = writer.write([next(numbered(TEXTS, 1, seed=0))])
    assert (found.image, found.reason) == (None, "unsafe"), found.detail


def test_the_whole_road(model: str, tmp_path: Path) -> None:
    taistore.register_encoder("colours", ColourEncoder)
    project = taistore.create(tmp_path / "store", labels=["red", "blue"], encoder="colours")
    project.generate_texts(10)
    command = ["generate-images", "--store", project.uri, "--model", model, "--per-text", "2"]
    command += ["--steps", "2", "--regions", "2", "--json", "--device", "cpu"]
    for written in (20, 0):
        done = CliRunner().invoke(main, [*command, "--keep", str(tmp_path / "kept")])
        assert done.exit_code == 0, done.output
        summary = json.loads(done.stdout)
        assert (summary["written"], summary["requested"], summary["regions"]) == (written, 20, 2)
    encoder = project.encoder()
    columns = ["synthetic_id", "writer", "model", "seed", "vector"]
    encoder_id = encoder.info.encoder_id
    rows = [
        row
        for batch in project.store.scan("synthetic_vectors", columns=columns, encoder_id=encoder_id)
        for row in batch.to_pylist()
    ]
    assert {(row["writer"], row["model"]) for row in rows} == {("diffusers", "pipeline")}
    for row in rows:
        with Image.open(tmp_path / "kept" / f"{row['synthetic_id']}.png") as kept:
            vector = encoder.encode_images(encoder.prepare(kept.convert("RGB"))[None]).whole[0]
        assert np.allclose(vector, row["vector"], atol=1e-2)


class _Fake:
    """A pipeline whose call does as it is told; it takes what a text-to-image pipeline takes."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw

    def __call__(self, prompt: list[str], generator: list[Any], output_type: str) -> Any:
        assert output_type == "np"
        return self._draw(prompt)


def writer_of(draw: Any, *, batch: int = 4) -> DiffusersWriter:
    cpu = torch.device("cpu")
    return DiffusersWriter(_Fake(draw), "fake", {}, device=cpu, per_text=1, seed=0, batch=batch)


def grey(prompts: list[str]) -> Any:
    return SimpleNamespace(images=np.full((len(prompts), 8, 8, 3), 0.5))


def test_pixels_that_are_no_numbers() -> None:
    def draw(prompts: list[str]) -> Any:
        found = grey(prompts)
        found.images[1, 0, 0] = np.nan
        return found

    made = list(writer_of(draw).write(list(numbered(TEXTS, 1, seed=0))))
    assert [one.reason for one in made] == ["", "not_finite", ""]


def test_what_fails_is_found_and_asked_for_again() -> None:
    def draw(prompts: list[str]) -> Any:
        if "a cat" in prompts:
            raise ValueError("no cats\nhere")
        return grey(prompts)

    made = {one.request.text.text: one for one in writer_of(draw).write(_asked())}
    assert {name for name, one in made.items() if one.image is not None} == {"a dog", "a bird"}
    assert made["a cat"].reason.startswith(UNANSWERED)
    assert made["a cat"].detail == "not drawn: ValueError: no cats here"


def test_a_batch_that_does_not_fit_is_halved_for_good() -> None:
    calls = []

    def draw(prompts: list[str]) -> Any:
        calls.append(len(prompts))
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return grey(prompts)

    writer = writer_of(draw)
    assert len(list(writer.write(_asked()))) == 3
    assert writer.batch == 1
    assert calls == [3, 1, 2, 1, 1]


def test_nothing_can_be_drawn() -> None:
    def no_memory(prompts: list[str]) -> Any:
        raise MemoryError

    with pytest.raises(
        SyntheticError, match=r"out of memory while fake draws a single picture.*size="
    ):
        list(writer_of(no_memory).write(_asked()))

    def broken(prompts: list[str]) -> Any:
        raise ValueError("height has to be divisible by 8")

    with pytest.raises(SyntheticError, match=r"fake draws nothing \(ValueError: height has to be"):
        list(writer_of(broken).write(_asked()))


def _asked() -> list[ImageRequest]:
    return list(numbered(TEXTS, 1, seed=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ""}, "needs model, a name on the hub or a folder"),
        ({"model": "TMP"}, "no pipeline in this folder (it has no model_index.json)"),
        ({"size": 100}, "size 100 is no multiple of 8"),
        ({"size": 3}, "give size=8"),
    ],
)
def test_refusals(model: str, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    given = {"model": model, **settings}
    given["model"] = given["model"].replace("TMP", str(tmp_path))
    with pytest.raises(SyntheticError) as caught, diffusers_writer(**given):
        pass
    assert message in str(caught.value)


def test_a_model_that_draws_from_no_prompt(tmp_path: Path) -> None:
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
    made: Any = diffusers.DDPMPipeline(unet=unet, scheduler=diffusers.DDPMScheduler())
    made.save_pretrained(tmp_path / "m")
    with (
        pytest.raises(SyntheticError, match="DDPMPipeline, which takes no prompt: name a text-to"),
        diffusers_writer(model=str(tmp_path / "m")),
    ):
        pass


def test_weights_that_would_be_unpickled_are_not_read(model: str, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "pickled"
    shutil.copytree(model, folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
        folder / "unet" / "diffusion_pytorch_model.bin"
    )
    with (
        pytest.raises(SyntheticError, match=r"cannot be loaded as a text-to-image pipeline"),
        diffusers_writer(model=str(folder)),
    ):
        pass
