"""A finished learner is its files: whole they score without a tower, damaged they are named."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from taistore.encoders import registry
from taistore.encoders.open_clip import encoder as open_clip_encoder
from taistore.encoders.open_clip.encoder import OpenClipEncoder
from taistore.errors import TrainingError
from taistore.project import Project
from taistore.run import Run
from taistore.store.object_folder import file_digest
from taistore_cli.main import main

SMALL: dict[str, Any] = {"context": 2, "epochs": 1, "batch": 8}
LEARNER, CARD = "learner.safetensors", "card.json"


@pytest.fixture(scope="module")
def finished(project: Project) -> Run:
    """Left as it is."""
    return project.train("pll", method="dualcoop", **SMALL)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Iterator[Run]:
    """The same run over a folder of its own, which a test may damage."""
    kept = shutil.copytree(finished.folder, tmp_path / "kept")
    yield finished
    shutil.rmtree(finished.folder)
    shutil.copytree(kept, finished.folder)


def _card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    (folder / CARD).write_text(json.dumps(card | changes), encoding="utf-8")


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _changed_byte(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[-9] ^= 1
        (folder / name).write_bytes(data)

    return damage


def _no_json(folder: Path) -> None:
    (folder / CARD).write_text("{", encoding="utf-8")


def _no_object(folder: Path) -> None:
    (folder / CARD).write_text("[1, 2]", encoding="utf-8")


def _without_field(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    del card["temperature"]
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def _of_variant(variant: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / CARD).read_text(encoding="utf-8"))["config"]
        _card(folder, config=config | {"variant": variant})

    return edit


def _names_of_fewer(folder: Path) -> None:
    _card(folder, label_names=["red"])


def _labels_of_fewer(folder: Path) -> None:
    _card(folder, label_keys=["red"], label_names=["red"])


def _vectors_of_fewer(folder: Path) -> None:
    """A learner of another label set, its card too saying that the file is whole."""
    tensors = load_file(folder / LEARNER)
    save_file({name: tensor[:3].contiguous() for name, tensor in tensors.items()}, folder / LEARNER)
    _card(folder, learner_digest=file_digest(folder / LEARNER))


def _vectors_of_another_role(folder: Path) -> None:
    tensors = load_file(folder / LEARNER)
    tensors["vectors.other"] = tensors.pop("vectors.negative")
    save_file(tensors, folder / LEARNER)
    _card(folder, learner_digest=file_digest(folder / LEARNER))


DAMAGE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no card": (_remove(CARD), CARD, "is missing"),
    "no vectors": (_remove(LEARNER), LEARNER, "is missing"),
    "no prompts": (_remove("prompts.safetensors"), "prompts.safetensors", ""),
    "changed vectors": (_changed_byte(LEARNER), LEARNER, ""),
    "changed prompts": (_changed_byte("prompts.safetensors"), "prompts.safetensors", ""),
    "no json": (_no_json, CARD, "not a readable card"),
    "no object": (_no_object, CARD, "not a readable card"),
    "a field less": (_without_field, CARD, "temperature"),
    "a variant that is none": (_of_variant("super"), CARD, "config.variant: input should be"),
    "another method's variant": (_of_variant("plain"), CARD, "variant 'plain' is none of method"),
    "a variant of three prompts": (_of_variant("plus"), LEARNER, "not the label vectors"),
    "names of fewer labels": (_names_of_fewer, CARD, "label_names: 1 of 4 labels"),
    "labels of fewer": (_labels_of_fewer, LEARNER, "not the label vectors of its card"),
    "vectors of fewer": (_vectors_of_fewer, LEARNER, "not the label vectors of its card"),
    "another role": (_vectors_of_another_role, LEARNER, "not the label vectors of its card"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(
    run: Run, tmp_path: Path, what: str
) -> None:
    damage, name, told = DAMAGE[what]
    damage(run.folder)
    with pytest.raises(TrainingError) as caught:
        run.evaluate(split="test")
    line = str(caught.value)
    assert "\n" not in line
    assert name in line
    assert str(run.folder) in line
    assert told in line
    for command in (
        ["evaluate", run.run_id],
        ["score", run.run_id, "--out", str(tmp_path / "o.csv")],
    ):
        done = CliRunner().invoke(main, [*command, "--store", run.project.uri, "--quiet"])
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == f"taistore: {line}\n"
    assert not (tmp_path / "o.csv").exists()
    [found] = Project.verify(run.project.uri).findings
    assert run.run_id in f"{found.table} {found.what}"


@pytest.mark.parametrize("method", ["dualcoop", "tai-dpt"])
def test_an_image_without_regions_is_its_own_only_region(
    project: Project, tmp_path: Path, method: str
) -> None:
    """Beside images that have some: in every step, and by every command."""
    shutil.copytree(project.uri, tmp_path / "store")
    own = Project.open(tmp_path / "store", device="cpu")
    run = own.train("zsl" if method == "tai-dpt" else "pll", method=method, **SMALL)
    adapter = own.train("pll", epochs=1).run_id
    gone = own.images()["image_id"].to_list()[::3]
    own.store.remove("region_vectors", {"image_id": gone}, encoder_id=run.encoder.encoder_id)
    store = ("--store", own.uri, "--quiet")

    def printed(*arguments: str | Path) -> str:
        done = CliRunner().invoke(main, [*map(str, arguments), *store])
        assert done.exit_code == 0, done.output
        return done.stdout

    told = json.loads(printed("evaluate", run.run_id, "--json"))
    assert 0 < told["images_with_regions"] < 12
    assert {"prompts_local", "prompts"} <= set(told["ladder"])
    for number, step in enumerate(("prompts_local", "prompts")):
        out = tmp_path / f"{number}.csv"
        assert "16 of 24 with regions" in printed("score", run.run_id, "--step", step, "--out", out)
        printed("export-scores", run.run_id, "--step", step, "--out", tmp_path / f"{number}.npy")
    local_IN, whole_IN = (np.load(tmp_path / f"{number}.npy") for number in range(2))
    assert np.isfinite(local_IN).all()
    assert np.array_equal(local_IN, whole_IN) == (method == "dualcoop")
    printed("compare", run.run_id, adapter)
    printed("ensemble", adapter, run.run_id, "--rule", "paper", "--split", "train")


def test_files_of_another_run_are_told(project: Project, run: Run) -> None:
    """Its vectors, and its vectors with their card."""
    other = project.train("pll", method="dualcoop", seed=1, **SMALL)
    shutil.copy(other.folder / LEARNER, run.folder)
    with pytest.raises(TrainingError, match=r"damaged, or of another run than card\.json"):
        run.evaluate(split="test")
    shutil.copy(other.folder / CARD, run.folder)
    told = rf"card\.json: is that of run {other.run_id}: train it"
    with pytest.raises(TrainingError, match=told):
        run.evaluate(split="test")
    project.remove_runs([other])


def test_a_learner_of_other_labels_is_told(run: Run) -> None:
    keys = ["red", "green", "blue", "violet"]
    _card(run.folder, label_keys=keys, label_names=keys)
    with pytest.raises(TrainingError, match="was trained for 4 labels that are not the 4 of"):
        run.evaluate(split="test")


def test_scoring_loads_no_tower(
    project: Project, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluating, scoring, comparing and averaging work where no encoder can be loaded at all."""
    adapter = project.train("pll", epochs=1)

    def no_encoder(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("an encoder is loaded")

    monkeypatch.setattr(registry, "load_encoder", no_encoder)
    monkeypatch.setattr(open_clip_encoder, "load_open_clip", no_encoder)
    monkeypatch.setattr(OpenClipEncoder, "prompt_tower", no_encoder)
    monkeypatch.setattr(OpenClipEncoder, "encode_texts", no_encoder)
    fresh = Project.open(project.uri, device="cpu")
    with pytest.raises(AssertionError, match="an encoder is loaded"):
        fresh.train("pll", method="dualcoop", **SMALL)
    run = fresh.run(finished.run_id)
    assert "prompts" in run.evaluate(split="test").to_json()["ladder"]
    assert run.score(out=tmp_path / "tags.csv").images == 24
    assert run.export_scores(tmp_path / "scores.parquet", split="test").images == 12
    assert run.tags(split="test").height
    assert run.compare(adapter.run_id, split="test", samples=5).images == 12
    for rule in ("scaled", "paper"):
        made = fresh.ensemble([adapter.run_id, run.run_id], rule=rule, split="train")
        averaged = fresh.run(made.run_id)
        assert averaged.evaluate(split="test").to_json()["ladder"]
        assert averaged.score(out=tmp_path / f"{rule}.csv").images == 24
