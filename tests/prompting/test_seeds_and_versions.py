"""What a run depends on: its seed, and the versions of the tables that it began with."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from taistore.adapter.optimizer import SGD
from taistore.project import Project
from taistore.run import Run
from tests.prompting.learner_projects import make_project

SMALL: dict[str, Any] = {"context": 2, "epochs": 3, "batch": 5, "lr": 0.05}
STILL: dict[str, Any] = {"context": 3, "epochs": 1, "batch": 16, "warm_lr": 1e-30}
"""A training that moves nothing: what it keeps is what it began with."""


def kept(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "learner.safetensors")


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("coop", {"task": "fsl", "shots": 2}),
        ("dualcoop", {"task": "pll"}),
        ("tai-dpt", {"task": "zsl"}),
    ],
)
def test_the_first_contexts_are_those_of_the_seed(
    project: Project, method: str, settings: dict[str, Any]
) -> None:
    one, same, other = (
        kept(project.train(method=method, seed=seed, **STILL, **settings)) for seed in (4, 4, 5)
    )
    roles = sorted(name for name in one if name.startswith("context."))
    assert roles
    for role in roles:
        assert float(one[role].std()) == pytest.approx(0.02, rel=0.4)  # moved, it were otherwise
        assert torch.equal(one[role], same[role])
        # Drawn anew, not in another order: hardly a number is that of the other seed.
        assert not np.isin(one[role].numpy(), other[role].numpy()).any()
    for first, second in itertools.pairwise(roles):
        assert not torch.equal(one[first], one[second])


def stopped(project: Project, monkeypatch: pytest.MonkeyPatch, task: Any, method: str) -> Run:
    """A training that Ctrl-C ended at its fifth step."""
    taken = 0
    step = SGD.step

    def interrupted(self: SGD, *, lr: float) -> None:
        nonlocal taken
        taken += 1
        if taken == 5:
            raise KeyboardInterrupt
        step(self, lr=lr)

    with monkeypatch.context() as patched:
        patched.setattr(SGD, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            project.train(task, method=method, **SMALL)
    [found] = [run for run in project.runs() if run.status == "stopped"]
    return found


def rewrite(project: Project, *kinds: str) -> None:
    """Other vectors under the same ids, as an encoder that was mended gives them."""
    encoder_id = project.encoder_info().encoder_id
    for kind in kinds:
        for batch in list(project.store.scan(kind, encoder_id=encoder_id)):
            rows = batch.to_pylist()
            for row in rows:
                name = "vector" if "vector" in row else "vectors"
                row[name] = [-value for value in reversed(row[name])]
            project.store.upsert(kind, rows, encoder_id=encoder_id)


@pytest.mark.parametrize(
    ("method", "task", "kinds"),
    [
        ("coop", "pll", ("image_vectors", "region_vectors")),
        ("tai-dpt", "zsl", ("text_vectors", "token_vectors")),
    ],
)
def test_a_resumed_run_reads_the_vectors_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, task: Any, kinds: tuple[str, str]
) -> None:
    """Bit for bit, whatever was written, added and tidied meanwhile."""
    project = make_project(tmp_path, texts=30)
    undisturbed = kept(project.train(task, method=method, **SMALL))
    begun = stopped(project, monkeypatch, task, method)
    rewrite(project, *kinds)
    project.generate_texts(45, tokens=True)
    project.optimize(keep_days=0)
    later = Project.open(project.uri, device="cpu")
    resumed = later.resume(begun.run_id)
    found = kept(resumed)
    assert found.keys() == undisturbed.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, undisturbed[name]), name
    # That what was written counts is shown by a run that begins with it.
    anew = kept(later.train(task, method=method, **SMALL))
    assert any(not torch.equal(tensor, undisturbed[name]) for name, tensor in anew.items())
