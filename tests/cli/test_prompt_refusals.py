"""Bad input to ``train --method`` of prompts: one line that names it, and nothing is recorded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import taistore
from taistore.adapter.optimizer import SGD
from taistore.labels import Label, LabelSet
from taistore.project import Project
from taistore_cli.main import main
from tests.encoders import small_models
from tests.encoders.test_prompt_tower import transformers_model
from tests.prompting.learner_projects import COLOURS, make_project

QUICK = ("--context", "2", "--epochs", "1", "--batch", "8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Left as it is, but for runs."""
    return make_project(tmp_path_factory.mktemp("refusals"), texts=20)


def refused(project: Project, *arguments: str | Path, code: int = 1) -> str:
    """What is wrong, as the last lines on stderr say; with exit code 1 there is only one."""
    before = project.contents()
    given = ["train", *map(str, arguments), "--store", project.uri, "--quiet"]
    done = CliRunner().invoke(main, given)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    lines = [line for line in done.stderr.splitlines() if not line.startswith("loading encoder")]
    assert code == 2 or len(lines) == 1, done.stderr
    assert project.contents() == before
    return lines[-2 if code == 2 else -1]


def bare(project: Project, folder: Path, labels: Any, *, encoder: str | None = None) -> Project:
    """Another store of the same weights, with no photo and no text."""
    spec = encoder or project.store.default_encoder
    return taistore.create(folder / "bare", labels=labels, encoder=spec, device="cpu")


# --- settings -----------------------------------------------------------------------------------


def test_methods_and_options(project: Project) -> None:
    assert "'prompts' is not one of" in refused(project, "--method", "prompts", code=2)
    line = refused(project, "--method", "tai-dpt", "--task", "pll")
    assert "method tai-dpt learns from texts: give task=zsl" in line.replace("--task ", "task=")
    line = refused(project, "--method", "dualcoop", "--radius", "1x")
    assert "radius" in line
    assert "is no setting of method 'dualcoop'" in line
    assert "shots" in refused(project, "--method", "coop")
    line = refused(project, "--method", "tai-dpt", "--gamma", "0.5")
    assert "gamma 0.5 is for method t2i-pal and changes nothing here" in line.replace("--", "")
    assert "alpha" in refused(project, "--alpha", "2")
    line = refused(project, "--method", "t2i-pal", "--learn-from", "both")
    assert "'both' is not allowed: give one of texts+synthetic, texts, synthetic" in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('method = "prompts"\n', "method 'prompts' is unknown: give one of adapter, coop"),
        ("method = 3\n", "method 3 is unknown"),
        ('method = "dualcoop"\nradius = "1x"\n', "'radius' is no setting of method 'dualcoop'"),
        ('method = "dualcoop"\ncontext = "long"\n', "context 'long' is not allowed"),
        ('method = "dualcoop"\nlr = "fast"\n', "lr 'fast' is not allowed"),
        ('method = "dualcoop"\ncontext_init = 4\n', "context_init 4 is not allowed"),
        ('method = "dualcoop"\nsplit = 4\n', "split 4 is not allowed"),
        ('method = "dualcoop"\nclass_specific = 1\n', "class_specific 1"),
        ('method = "dualcoop"\ntask = ["pll"]\n', "task"),
        ('method = "dualcoop"\nvariant = ["plus"]\n', "variant ['plus'] is not allowed"),
        ('method = "dualcoop"\nloss = {}\n', "loss {} is not allowed"),
        ('method = "coop"\ntask = "zsl"\n', "learns from labelled images"),
        ('method = "dualcoop\n', "neither TOML nor a run's card"),
    ],
)
def test_a_wrong_setting_in_a_file_names_the_file(
    project: Project, tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    line = refused(project, "--config", path).replace("--task ", "task=")
    assert line.startswith(f"taistore: {path}: ")
    assert told in line


def test_a_setting_given_beside_a_file_takes_its_place(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('method = "dualcoop"\ncontext = 2\nepochs = 900\nbatch = 8\n', encoding="utf-8")
    given = ["train", "--config", str(path), "--epochs", "1", "--json"]
    done = CliRunner().invoke(main, [*given, "--store", project.uri, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    config = json.loads(done.stdout)["config"]
    assert (config["method"], config["context"], config["epochs"]) == ("dualcoop", 2, 1)


# --- what the store lacks -----------------------------------------------------------------------


def test_stores_without_texts_photos_or_labels(project: Project, tmp_path: Path) -> None:
    empty = bare(project, tmp_path, list(COLOURS))
    empty.label_prompts()
    for name in ("tai-dpt", "t2i-pal"):
        assert "holds no texts" in refused(empty, "--method", name, *QUICK)
    for method in (("dualcoop",), ("coop", "--shots", "1")):
        assert "taistore ingest-images" in refused(empty, "--method", *method, *QUICK)
    empty.ingest_images(Path(project.uri).parent / "photos", regions=2, split="train")
    assert "label" in refused(empty, "--method", "coop", "--shots", "2", *QUICK)


def test_a_store_without_images_made_of_texts(project: Project) -> None:
    line = refused(project, "--method", "t2i-pal", *QUICK)
    assert "holds no images made of texts for encoder" in line
    assert line.endswith(
        f"make some with 'taistore generate-images --regions 7 --store {project.uri}'"
    )


def test_a_store_without_regions(project: Project, tmp_path: Path) -> None:
    plain = bare(project, tmp_path, list(COLOURS))
    plain.ingest_images(Path(project.uri).parent / "train.jsonl", regions=0, split="train")
    plain.label_prompts()
    for method in (("dualcoop",), ("coop", "--shots", "1")):
        line = refused(plain, "--method", *method, *QUICK)
        assert "labelled images have no region vectors" in line
        assert "--regions 7" in line


def test_a_label_that_does_not_fit_behind_the_context(project: Project, tmp_path: Path) -> None:
    labels = LabelSet([Label("red", "red"), Label("long", " ".join(["bird"] * 55))])
    wordy = bare(project, tmp_path, labels)
    wordy.label_prompts()
    line = refused(wordy, "--method", "tai-dpt", "--context", "30")
    assert "reads at most 77: shorten it or the context" in line.replace("--context", "context")
    assert "bird" in line


# --- encoders -----------------------------------------------------------------------------------


def test_encoders_without_a_tower(project: Project, tmp_path: Path) -> None:
    foreign = bare(project, tmp_path, list(COLOURS), encoder=transformers_model(tmp_path).info.spec)
    assert "has a text tower of transformers" in refused(foreign, "--method", "tai-dpt", *QUICK)
    np.save(tmp_path / "v.npy", np.ones((2, 4), np.float32))
    (tmp_path / "ids.txt").write_text("a.png\nb.png\n", encoding="utf-8")
    imported = taistore.create(tmp_path / "own", labels=list(COLOURS), encoder="vectors:own")
    assert "vectors:own" in refused(imported, "--method", "dualcoop", *QUICK)
    imported.ingest_image_vectors(tmp_path / "v.npy", name="own", ids=tmp_path / "ids.txt")
    line = refused(imported, "--method", "dualcoop", *QUICK)
    assert "encoder vectors:own has no text tower that takes embeddings" in line


def test_other_weights_when_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stays as it was, and goes on where its weights are back."""
    own = make_project(tmp_path, texts=20)
    with monkeypatch.context() as patched:
        patched.setattr(SGD, "step", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            own.train("pll", method="dualcoop", context=2, epochs=1, batch=8)
    [run] = own.runs()
    kept = (tmp_path / "weights.pt").rename(tmp_path / "kept.pt")
    small_models.save("small-resnet", tmp_path, seed=5)
    line = refused(own, "--resume", run.run_id)
    assert f"run {run.run_id} is of the encoder {own.encoder_info().encoder_id}" in line
    assert "give the weights that it began with" in line
    kept.replace(tmp_path / "weights.pt")
    assert Project.open(own.uri, device="cpu").resume(run.run_id).status == "finished"


def _interrupted(self: SGD, *, lr: float) -> None:
    raise KeyboardInterrupt
