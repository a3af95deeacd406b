"""A short list of labels gives the tags that all scores give. B images, N labels, D dimensions."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from taistore.adapter.network import Network, NetworkShape, Residual, build_network
from taistore.errors import ScoringError
from taistore.geometry.unlabelled.discriminant import Discriminant
from taistore.scoring.choosing import Chooser, Images
from taistore.scoring.known_cells import KnownCells
from taistore.scoring.ladders.competition import Competition
from taistore.scoring.ladders.ladder import Ladder, Step
from taistore.scoring.ladders.last_layer import last_layer
from taistore.scoring.selection import Choice, Tags, chosen_tags
from taistore.scoring.shortlists import shortlist as module
from taistore.scoring.shortlists.products import Products
from taistore.scoring.shortlists.shortlist import Shortlist, fits
from taistore.store.tables.label_lists import Ragged, covered_where

N, D, B = 1200, 24, 40
OFF = 2e-3
"""How much scores may be off, as the documentation of Chooser says."""


def make_ladder(
    *,
    network: Network = "residual",
    hidden: int = 0,
    gap: float | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Ladder:
    torch.manual_seed(seed)
    # Prompts share a direction, as CLIP's do: all cosines lie far from 0.
    prompts_ND = functional.normalize(torch.randn(N, D) + 2, dim=1)
    shape = NetworkShape(network=network, dim=D, labels=N, hidden=hidden, dropout=0.0)
    made = build_network(shape, seed=seed)
    if isinstance(made, Residual):
        near_BD = 10 * functional.normalize(prompts_ND + 0.1 * torch.randn(N, D), dim=1)
        made.start_from(prompts_ND, prompts_ND.mean(0), near_BD, 1 / N)
        torch.nn.init.normal_(made.linear.weight, std=0.1)
        if made.layers is not None:
            torch.nn.init.normal_(made.layers.last.weight, std=0.3)
    made.eval().requires_grad_(False).to(device)
    found = None if gap is None else Discriminant(torch.randn(N, D), torch.randn(N), gap)
    return Ladder(
        prompts_ND,
        made,
        competition=Competition(spread=2.0, none=1.0),
        discriminant=found,
        layer=last_layer(made, prompts_ND.to(device)),
        device=device,
    )


def vectors(images: int = B, *, regions: int = 0, seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    raw_BVD = (5 * (random.standard_normal((images, 1 + regions, D)) + 0.5)).astype(np.float16)
    return Images([""] * images, raw_BVD[:, 0], raw_BVD[:, 1:] if regions else None)


def plainly(ladder: Ladder, choice: Choice, images: Images) -> tuple[Tags, NDArray[np.float32]]:
    step = choice.step
    scores_BN = ladder.scores(images.whole_BD, images.regions_BRD, steps=[step])[step]
    regions = images.regions_BRD is not None
    known_BN = None if images.known is None else images.known.matrix(N)
    confidence = functools.partial(ladder.confidence, regions=regions)
    return chosen_tags(scores_BN, choice, known_BN=known_BN, confidence=confidence)


def assert_same(ladder: Ladder, choice: Choice, images: Images) -> None:
    chooser = Chooser(ladder, choice)
    tags, values_T = chooser(images)
    plain, plain_T = plainly(ladder, choice, images)
    assert np.array_equal(tags.row, plain.row)
    assert np.array_equal(tags.rank, plain.rank)
    np.testing.assert_allclose(values_T, plain_T, atol=OFF)
    for row in range(len(images.ids)):
        ours, theirs = (set(t.label_id[t.row == row].tolist()) for t in (tags, plain))
        assert ours == theirs


STEPS: tuple[Step, ...] = (
    "zero_shot",
    "standardised",
    "adapter_logits",
    "adapter_global",
    "adapter",
    "ensemble",
)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("regions", [0, 4])
def test_every_step_gives_the_labels_of_all_scores(step: Step, regions: int) -> None:
    assert_same(make_ladder(), Choice(step=step, top_k=20), vectors(regions=regions))


@pytest.mark.parametrize(("network", "hidden"), [("residual", 8), ("small", 16), ("paper", 16)])
def test_every_network_has_a_last_layer(network: Network, hidden: int) -> None:
    ladder = make_ladder(network=network, hidden=hidden)
    assert_same(ladder, Choice(step="ensemble", top_k=5), vectors())


@pytest.mark.parametrize("step", ["discriminant", "ensemble"])
@pytest.mark.parametrize("gap", [0.2, 0.9])
@pytest.mark.parametrize("regions", [0, 4])
def test_the_discriminant_is_a_part(step: Step, gap: float, regions: int) -> None:
    assert_same(make_ladder(gap=gap), Choice(step=step, top_k=10), vectors(regions=regions))


def test_a_threshold_ends_the_tags_early() -> None:
    assert_same(make_ladder(), Choice(step="ensemble", top_k=20, threshold=0.7), vectors())


def test_equal_labels_come_by_their_ids() -> None:
    ladder = make_ladder()
    twins_ND = ladder.prompts_ND[: N // 4].repeat(4, 1)
    ladder = Ladder(twins_ND)
    tags, _ = Chooser(ladder, Choice(step="zero_shot", top_k=8))(vectors())
    ids_BK = tags.label_id.reshape(B, 8)
    quarter = N // 4
    for start in (0, 4):
        first_B1 = ids_BK[:, start : start + 1]
        assert (ids_BK[:, start : start + 4] == first_B1 + quarter * np.arange(4)).all()


def test_where_all_labels_are_alike_the_plain_way_decides() -> None:
    alike_ND = torch.ones(N, D)
    tags, _ = Chooser(Ladder(alike_ND), Choice(step="zero_shot", top_k=5))(vectors())
    assert (tags.label_id.reshape(B, 5) == np.arange(5)).all()


@given(seed=st.integers(0, 10**6), top_k=st.integers(1, 30))
@example(seed=190, top_k=23)  # labels nearly tie where what is known cuts the list
@example(seed=1049, top_k=27)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_known_comes_first_or_not_at_all(seed: int, top_k: int) -> None:
    random = np.random.default_rng(seed)
    lists = []
    for most in (8, 400):
        drawn = [
            np.sort(random.choice(N, random.integers(0, most), replace=False)) for _ in range(B)
        ]
        counts_B = np.array([len(some) for some in drawn])
        lists.append(Ragged.build(counts_B, np.concatenate(drawn).astype(np.int32)))
    known = KnownCells(lists[0], lists[1], covered_where(random.random(B) < 0.2))
    images = vectors(seed=seed)._replace(known=known)
    assert_same(make_ladder(), Choice(step="ensemble", top_k=top_k), images)


def test_a_vector_that_is_no_number_is_told() -> None:
    images = vectors()
    images.whole_BD[3, 2] = np.nan
    with pytest.raises(ScoringError, match="no number"):
        Chooser(make_ladder(), Choice(step="ensemble", top_k=5))(images)


def test_few_labels_and_many_tags_go_the_plain_way() -> None:
    assert not fits(80, 5)
    assert not fits(7186, 1000)
    assert fits(7186, 20)
    assert_same(make_ladder(), Choice(step="ensemble", top_k=N + 1), vectors())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_labels() -> None:
    assert_same(make_ladder(device="cuda"), Choice(step="ensemble", top_k=20), vectors(regions=4))


@pytest.mark.parametrize("step", ["zero_shot", "standardised"])
def test_real_vectors_get_the_same_labels(shared_data: Path, step: Step) -> None:
    folder = shared_data / "clip-vit-b-32"
    prompts_ND = np.load(folder / "text-lvis1203.npy").astype(np.float32)
    images_BD = np.load(folder / "image-exemplar-lvis1203.npy").astype(np.float16)
    ladder = Ladder(prompts_ND)
    choice = Choice.asked(ladder, regions=False, step=step, top_k=20, threshold=None)
    images = Images([""] * len(images_BD), images_BD, None)
    tags, _ = Chooser(ladder, choice)(images)
    scores_BN = ladder.scores(images_BD, steps=[step])[step]
    plain, _ = chosen_tags(
        scores_BN, choice, confidence=functools.partial(ladder.confidence, regions=False)
    )
    same = [
        set(tags.label_id[tags.row == row]) == set(plain.label_id[plain.row == row])
        for row in range(len(images_BD))
    ]
    assert np.mean(same) >= 0.999


@pytest.mark.parametrize("regions", [0, 4])
def test_who_is_not_sure_with_few_labels_is_looked_at_again(
    regions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPARE", 1)
    ladder, images = make_ladder(), vectors(200, regions=regions)
    products = Products(ladder.prompts_ND, ladder.layer, None, spread=2.0, kind=torch.bfloat16)
    shortlist = Shortlist("ensemble", products, ("logits", "cosines"), ladder.competition)
    raw_BVD = torch.from_numpy(images.whole_BD).float()[:, None]
    if images.regions_BRD is not None:
        raw_BVD = torch.cat([raw_BVD, torch.from_numpy(images.regions_BRD).float()], dim=1)
    nothing = torch.empty(0, dtype=torch.int64)
    again = shortlist.best(raw_BVD, 20, without=(nothing, nothing))
    monkeypatch.setattr(module, "MORE_SPARE", 1)
    once = shortlist.best(raw_BVD, 20, without=(nothing, nothing))
    assert once.sure_B.sum() < again.sure_B.sum()
    assert (again.sure_B | ~once.sure_B).all()
    plain, _ = plainly(ladder, Choice(step="ensemble", top_k=20), images)
    plain_BK = torch.from_numpy(plain.label_id.reshape(-1, 20)).long().sort(dim=1).values
    found_BK = again.ids_BK.sort(dim=1).values
    assert torch.equal(found_BK[again.sure_B], plain_BK[again.sure_B])
