"""Whole trainings of prompts: real photos, a real store, a text tower that was loaded from disk."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import taistore
from taistore.adapter.optimizer import SGD, warm_cosine
from taistore.errors import EncoderError, ScoringError, StoreError, TextError, TrainingError
from taistore.labels import Label, LabelSet
from taistore.project import Project
from taistore.prompting.contexts import LabelPrompts
from taistore.prompting.learner_files import load_learner
from taistore.run import Run
from tests.prompting.learner_projects import add_synthetic, make_project

SMALL: dict[str, Any] = {"context": 2, "epochs": 3, "batch": 5, "lr": 0.05}

WAYS = [
    ("coop", "fsl", {"shots": 2}),
    ("coop", "pll", {"known": 0.8}),
    ("dualcoop", "pll", {"known": 0.8}),
    ("dualcoop", "fsl", {"shots": 2, "variant": "official"}),
    ("dualcoop", "pll", {"variant": "plus"}),
    ("tai-dpt", "zsl", {}),
]


def learner_bytes(run: Run) -> bytes:
    return (run.folder / "learner.safetensors").read_bytes()


@pytest.mark.parametrize(("method", "task", "settings"), WAYS)
def test_each_method_trains_and_is_a_ladder(
    project: Project, method: str, task: Any, settings: dict[str, Any]
) -> None:
    run = project.train(task, method=method, **SMALL, **settings)
    assert (run.status, run.task, run.config["method"]) == ("finished", task, method)
    labels, dim = len(project.labels), run.encoder.dim
    tensors = load_file(run.folder / "learner.safetensors")
    vectors = {name: t for name, t in tensors.items() if name.startswith("vectors.")}
    assert len(vectors) == (
        3 if settings.get("variant") == "plus" else 1 if method == "coop" else 2
    )
    for vector_ND in vectors.values():
        assert vector_ND.shape == (labels, dim)
        assert torch.allclose(vector_ND.norm(dim=1), torch.ones(labels), atol=1e-5)
    found = run.evaluate(split="test").to_json()
    own = ["prompts_local", "prompts"]
    own = own if method == "dualcoop" else ["prompts_global", *own]
    assert list(found["ladder"]) == ["zero_shot", "standardised", "regions", *own]
    assert all(0 < step["mAP"] <= 100 for step in found["ladder"].values())
    project.store.forget_run(run.run_id)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("method", "task"), [("dualcoop", "pll"), ("tai-dpt", "zsl")])
def test_a_gpu_learns_the_prompts_that_a_cpu_learns(
    project: Project, method: str, task: Any
) -> None:
    there = Project.open(project.uri, device="cuda", precision="fp32")
    runs = [one.train(task, method=method, **SMALL) for one in (project, there)]
    cpu, gpu = (load_file(run.folder / "learner.safetensors") for run in runs)
    assert set(gpu) == set(cpu)
    for name, values in cpu.items():
        torch.testing.assert_close(gpu[name], values, rtol=1e-2, atol=1e-2)
    for run in runs:
        project.store.forget_run(run.run_id)


def test_learning_lowers_the_loss_and_finds_the_colours(project: Project) -> None:
    settings = SMALL | {"epochs": 40, "lr": 0.5, "temperature": 10.0, "loss": "ranking"}
    run = project.train("pll", method="dualcoop", **settings)
    ladder = run.evaluate(split="train").to_json()["ladder"]
    assert ladder["prompts"]["mAP"] > ladder["zero_shot"]["mAP"]
    assert ladder["prompts"]["mAP"] > 65


def test_two_trainings_of_one_seed_are_one(project: Project) -> None:
    one = project.train("fsl", method="coop", shots=2, **SMALL)
    same = project.train("fsl", method="coop", shots=2, **SMALL)
    other = project.train("fsl", method="coop", shots=2, seed=1, **SMALL)
    assert learner_bytes(one) == learner_bytes(same) != learner_bytes(other)


_KILLED = """
import os, signal, sys
import taistore
from taistore.adapter import loop
import tests.encoders.small_models

step = loop.TrainingLoop._step
def dying(self, number, batch):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, number, batch)
loop.TrainingLoop._step = dying
import taistore.prompting.prompt_training as training
training.train_prompts.__kwdefaults__["checkpoint_seconds"] = 0.0
taistore.open(sys.argv[1], device="cpu").train(
    sys.argv[2], method=sys.argv[3], context=2, epochs=3, batch=5, lr=0.05
)
"""


@pytest.mark.parametrize(
    ("method", "task"),
    [("dualcoop", "pll"), ("tai-dpt", "zsl"), ("t2i-pal", "zsl"), ("t2i-pal", "pll")],
)
def test_a_killed_training_goes_on_to_the_same_vectors(
    tmp_path: Path, method: str, task: Any
) -> None:
    project = make_project(tmp_path, texts=30)
    if method == "t2i-pal":
        add_synthetic(project)
    undisturbed = project.train(task, method=method, **SMALL)
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, project.uri, task, method],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    stopped = next(run for run in project.runs() if run.status != "finished")
    # What comes into the store meanwhile changes nothing.
    project.generate_texts(80)
    if method == "t2i-pal":
        add_synthetic(project, per_text=3)
    with pytest.raises(TrainingError, match="is not finished"):
        stopped.evaluate(split="test")
    resumed = project.resume("latest")
    assert resumed.run_id == stopped.run_id
    assert learner_bytes(resumed) == learner_bytes(undisturbed)
    again = project.resume(resumed.run_id)
    assert again.training is not None
    assert again.training.finished_before


def test_runs_score_tag_compare_and_join_ensembles(project: Project, tmp_path: Path) -> None:
    prompts = project.train("pll", method="dualcoop", **SMALL)
    adapter = project.train("pll", epochs=2)
    written = prompts.score(out=tmp_path / "tags.parquet")
    assert written.images == 24
    (_, tags), *_ = prompts.tag(sorted((Path(project.uri).parent / "photos").iterdir())[:1])
    assert tags
    assert prompts.compare(adapter, split="test", samples=20).images == 12
    for rule in ("scaled", "paper"):
        made = project.ensemble([adapter, prompts], rule=rule, split="train")
        ladder = project.run(made.run_id).evaluate(split="test").to_json()["ladder"]
        assert "adapter" in ladder
        member = made.members[1]
        assert member.whole["adapter"] == member.whole["adapter_global"]
    with pytest.raises(ScoringError, match="is no adapter, and the paper's rule begins with one"):
        project.ensemble([prompts, adapter], rule="paper")
    assert not Project.verify(project.uri).findings


def test_labels_of_one_name_are_told_apart_by_their_synonyms(
    project: Project, tmp_path: Path
) -> None:
    """As in zero-shot: without, one context for all would make one vector of both."""
    labels = [
        Label("bird", "crane", ("grey heron",)),
        Label("machine", "crane", ("tower crane",)),
        Label("other", "crane"),
    ]
    own = taistore.create(
        tmp_path / "cranes",
        labels=LabelSet(labels),
        encoder=project.store.default_encoder,
        device="cpu",
    )
    own.generate_texts(20)
    run = own.train("zsl", method="tai-dpt", context=2, epochs=1, batch=8)
    vectors_ND = load_learner(run.folder).vectors["whole"]
    assert len({tuple(vector_D.tolist()) for vector_D in vectors_ND}) == 3


def test_images_of_another_grid_and_of_none(tmp_path: Path) -> None:
    project = make_project(tmp_path, texts=40)
    photos = sorted((tmp_path / "photos").iterdir())
    run = project.train("pll", method="coop", **SMALL)
    assert [len(found) for _, found in run.tag(photos[:3], regions=0)]
    store, encoder_id = project.store, run.encoder.encoder_id
    row = next(store.scan("region_vectors", encoder_id=encoder_id)).slice(0, 1).to_pylist()[0]
    dim = run.encoder.dim
    store.upsert(
        "region_vectors",
        [row | {"grid": 1, "vectors": row["vectors"][:dim]}],
        encoder_id=encoder_id,
    )
    assert project.train("pll", method="coop", **SMALL).status == "finished"
    project.ingest_images(_more(tmp_path), regions=0, split="train")
    with pytest.raises(TrainingError, match=r"1 of 13 labelled images have no region vectors"):
        project.train("pll", method="coop", **SMALL)


def _more(folder: Path) -> Path:
    shutil.copy(folder / "photos" / "train-red-blue.png", folder / "photos" / "plain.png")
    with (folder / "photos" / "plain.png").open("ab") as file:
        file.write(b"\0")  # another file of the same picture
    path = folder / "more.jsonl"
    line = '{"image": "photos/plain.png", "labels": ["red"]}\n'
    path.write_text(line, encoding="utf-8")
    return path


def test_bad_input_gets_one_line(project: Project, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="method 'prompts' is unknown: give one of adapter"):
        project.train("pll", method="prompts")
    with pytest.raises(TrainingError, match="'radius' is no setting of method 'coop'"):
        project.train("fsl", method="coop", shots=1, radius="1x")
    with pytest.raises(TrainingError, match="unknown field 'context'"):
        project.train("zsl", context=4)
    with pytest.raises(TrainingError, match="split 'val' has no images"):
        project.train("pll", method="dualcoop", split="val")
    bare = taistore.create(tmp_path / "bare", labels=["red", "blue"], encoder="vectors:clip")
    with pytest.raises((EncoderError, StoreError), match="vectors:clip"):
        bare.train("zsl", method="tai-dpt")
    weights = Path(project.uri).parent / "weights.pt"
    long = LabelSet([Label("red", "red"), Label("long", " ".join(["bird"] * 70))])
    wordy = taistore.create(
        tmp_path / "wordy", labels=long, encoder=f"open_clip:small-resnet/{weights}", device="cpu"
    )
    with pytest.raises(TextError, match="reads at most 77: shorten it or the context"):
        wordy.train("zsl", method="tai-dpt")
    short = taistore.create(
        tmp_path / "short",
        labels=["red"],
        encoder=f"open_clip:small-resnet/{weights}",
        device="cpu",
    )
    with pytest.raises(TrainingError, match="holds no texts for encoder"):
        short.train("zsl", method="tai-dpt")


@pytest.mark.parametrize("name", ["learner.safetensors", "card.json", "prompts.safetensors"])
def test_damaged_files_are_named(project: Project, tmp_path: Path, name: str) -> None:
    run = project.train("fsl", method="coop", shots=1, out=tmp_path / "run", **SMALL)
    path = run.folder / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(TrainingError, match=name):
        run.evaluate(split="test")
    path.unlink()
    with pytest.raises(TrainingError, match=name):
        run.evaluate(split="test")
    project.store.forget_run(run.run_id)


def test_sgd_takes_torchs_steps() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    mine = SGD(ours, momentum=0.9, weight_decay=5e-4)
    reference = torch.optim.SGD(theirs.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4)
    for step in range(6):
        inputs = torch.randn(4, 3)
        for network in (ours, theirs):
            network.zero_grad()
            torch.autograd.backward(network(inputs).square().sum())
        reference.param_groups[0]["lr"] = 0.1 / (step + 1)
        reference.step()
        mine.step(lr=0.1 / (step + 1))
        if step == 3:  # Saved and put back, it goes on as before.
            kept = {name: tensor.clone() for name, tensor in mine.tensors().items()}
            mine = SGD(ours, momentum=0.9, weight_decay=5e-4)
            mine.put_back(kept, steps=step + 1)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other)


def test_the_rate_is_a_cosine_behind_a_warm_epoch() -> None:
    """Torch's own cosine over all epochs, begun when the constant warm-up is over."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    expected = [1e-5]
    for _ in range(6):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    found = [warm_cosine(e, epochs=7, lr=0.4, warm=1, warm_lr=1e-5) for e in range(7)]
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_step_without_memory_says_what_to_lower(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(self: LabelPrompts, contexts: object) -> dict[str, torch.Tensor]:
        return {"local": torch.empty(2**50)}

    monkeypatch.setattr(LabelPrompts, "vectors", greedy)
    with pytest.raises(TrainingError, match=r"out of memory at step 1 with batch 5 and 4 labels"):
        project.train("pll", method="dualcoop", **SMALL)

    def broken(self: LabelPrompts, contexts: object) -> dict[str, torch.Tensor]:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(LabelPrompts, "vectors", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        project.train("pll", method="dualcoop", **SMALL)
