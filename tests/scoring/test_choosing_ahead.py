"""Batches whose vectors are copied ahead of their scores, and whose tags come one behind."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from taistore.errors import ScoringError
from taistore.scoring.choosing import Chooser, Images, Tagged
from taistore.scoring.known_cells import KnownCells
from taistore.scoring.ladders.ladder import Ladder, Step
from taistore.scoring.score import score
from taistore.scoring.selection import Choice
from taistore.scoring.tags.read_tags import read_tags
from taistore.store.tables.label_lists import Ragged, covered_where
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, add_run, new_store
from tests.scoring.test_choosing import OFF, D, N, make_ladder, vectors
from tests.slow_device import SlowDevice

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
FEW = Choice(step="ensemble", top_k=20)
CHOICES = {
    "short list": FEW,
    "all, top k": Choice(step="ensemble", top_k=N - 1),
    "all, threshold": Choice(step="ensemble", threshold=0.7),
    "all, both": Choice(step="ensemble", top_k=N - 1, threshold=0.7),
}
ALL = pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)


def known(images: int, *, seed: int) -> KnownCells:
    random = np.random.default_rng(seed)
    lists = []
    for most in (8, 60):
        drawn = [random.choice(N, random.integers(0, most), replace=False) for _ in range(images)]
        counts_B = np.array([len(some) for some in drawn])
        ids = np.concatenate([np.sort(some) for some in drawn]).astype(np.int32)
        lists.append(Ragged.build(counts_B, ids))
    return KnownCells(lists[0], lists[1], covered_where(random.random(images) < 0.2))


def batches() -> Iterator[tuple[int, Images]]:
    """Batches of several sizes: one is empty, some have regions, of some something is known."""
    for number, size in enumerate((9, 0, 4, 9, 1)):
        images = vectors(size, regions=3 * (number % 2), seed=number)
        if size > 1:
            images = images._replace(known=known(size, seed=number))
        yield number, images


def tagged(chooser: Chooser) -> list[tuple[int, Tagged]]:
    return list(chooser.each(batches()))


@ALL
def test_the_tags_are_those_of_each_batch_alone(choice: Choice) -> None:
    ladder = make_ladder()
    plain = tagged(Chooser(ladder, choice))
    alone = [Chooser(ladder, choice)(images) for _, images in batches()]
    copied = tagged(Chooser(ladder, choice, copies=SlowDevice(inline=True)))
    assert [number for number, _ in copied] == [0, 1, 2, 3, 4]
    for (_, one), (_, other), third in zip(copied, plain, alone, strict=True):
        for ours in (one, third):
            for column, expected in zip((*ours[0], ours[1]), (*other[0], other[1]), strict=True):
                np.testing.assert_array_equal(column, expected)
    assert sum(len(values_T) for _, (_, values_T) in copied) > 0


@pytest.mark.parametrize("top_k", [20, N - 1])
def test_a_batch_is_scored_before_the_tags_of_the_one_before_are_used(top_k: int) -> None:
    scored = []

    class Noted(Ladder):
        def confidence(self, step: Step, scores_BN: Tensor, *, regions: bool) -> Tensor:
            scored.append(step)
            return super().confidence(step, scores_BN, regions=regions)

    prompts_ND = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    choice = Choice(step="zero_shot", top_k=top_k)
    chooser = Chooser(Noted(prompts_ND), choice, copies=SlowDevice(inline=True))
    each = chooser.each((number, vectors(3, seed=number)) for number in range(3))
    assert next(each)[0] == 0
    assert len(scored) == 2
    assert [number for number, _ in each] == [1, 2]


@ALL
def test_the_batches_before_one_that_is_no_number_are_given_out(choice: Choice) -> None:
    def damaged() -> Iterator[tuple[int, Images]]:
        for number in range(3):
            images = vectors(5, seed=number)
            images.whole_BD[2, 2] = np.nan if number == 1 else 1
            yield number, images

    found = Chooser(make_ladder(), choice, copies=SlowDevice(inline=True)).each(damaged())
    assert next(found)[0] == 0
    with pytest.raises(ScoringError, match="no number"):
        next(found)


@NEEDS_GPU
@ALL
def test_a_gpu_gives_the_same_labels_batch_by_batch(choice: Choice) -> None:
    cpu, gpu = (tagged(Chooser(make_ladder(device=d), choice)) for d in ("cpu", "cuda"))
    for (number, (tags, values_T)), (same, (others, other_T)) in zip(gpu, cpu, strict=True):
        assert number == same
        pairs = [set(zip(t.row.tolist(), t.label_id.tolist(), strict=True)) for t in (tags, others)]
        # A score within rounding of the threshold may fall on either side of it.
        assert len(pairs[0] ^ pairs[1]) <= 0.001 * len(pairs[1])
        if len(values_T) == len(other_T):
            np.testing.assert_allclose(values_T, other_T, atol=OFF)


@NEEDS_GPU
def test_a_gpu_scores_a_store_as_a_cpu_does(tmp_path: Path) -> None:
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    run_id = add_run(store, encoder)
    add_pictures(store, encoder)
    found = []
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.parquet"
        score(store, run_id, None, out, top_k=3, known="ignore", device=device)
        found.append({(row["uri"], row["label_key"]): row["score"] for row in read_tags(out)})
    cpu, gpu = found
    assert set(gpu) == set(cpu)
    assert gpu == pytest.approx(cpu, abs=OFF)
