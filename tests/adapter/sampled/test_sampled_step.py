"""Sampled steps against those over all labels: gradients, rows that catch up, whole trainings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from taistore.adapter.config import LearnFrom, TrainConfig
from taistore.adapter.loss import Loss, bce_value, sparse_bce
from taistore.adapter.network import AdapterNetwork, Network, NetworkShape, Residual, build_network
from taistore.adapter.optimizer import AdamW, one_cycle
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.sampled.label_sample import LabelSample
from taistore.adapter.sampled.rooms import Rooms
from taistore.adapter.sampled.row_adamw import MissedSteps, RowAdamW
from taistore.adapter.sampled.sampled_step import SampledStep, ShakenBatch
from taistore.adapter.train import resume, train
from tests.adapter.stores import ENCODER_ID, add_images, prompt_vectors, text_store
from tests.adapter.watching import Bar, InterruptedTrainingError, showing, weights

LABELS, ROWS, DIM = 30, 12, 8
NETWORKS: list[tuple[Network, int]] = [("residual", 0), ("residual", 6), ("paper", 6)]


def network_of(kind: Network, hidden: int) -> AdapterNetwork:
    """One whose every weight is something, without dropout."""
    shape = NetworkShape(network=kind, dim=DIM, labels=LABELS, hidden=hidden, dropout=0.0)
    network = build_network(shape).train()
    random = torch.Generator().manual_seed(5)
    for weight in network.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=random))
    if isinstance(network, Residual):
        network.prompts.copy_(torch.randn(LABELS, DIM, generator=random))
        network.shared[0] = 1.0
    return network


def batches_of(known: float) -> list[ShakenBatch]:
    """Two: one of which all is known, one of which a share is, with weights of rows."""
    random = torch.Generator().manual_seed(9)
    found = []
    for share in (1.0, known):
        truth = torch.rand(ROWS, LABELS, generator=random) < 0.1
        there = torch.rand(ROWS, LABELS, generator=random) < share
        positives, negatives = (
            (cells & there).view(-1).nonzero()[:, 0] for cells in (truth, ~truth)
        )
        vectors_BD = torch.randn(ROWS, DIM, generator=random)
        weights_B = torch.rand(ROWS, generator=random)
        found.append(
            ShakenBatch(vectors_BD, positives, None if share == 1 else negatives, weights_B)
        )
    return found


def dense_gradients(
    network: AdapterNetwork, batches: list[ShakenBatch]
) -> tuple[dict[str, torch.Tensor], float]:
    value = 0.0
    for vectors_BD, positives, negatives, weights_B in batches:
        logits_BN = network(vectors_BD)
        torch.autograd.backward(sparse_bce(logits_BN, positives, negatives, row_weights=weights_B))
        value += bce_value(logits_BN.detach(), positives, negatives, row_weights=weights_B)
    found = {n: w.grad.clone() for n, w in network.named_parameters() if w.grad is not None}
    network.zero_grad()
    return found, value


def sampled_step(network: AdapterNetwork, size: int) -> SampledStep:
    return SampledStep(
        network, labels=LABELS, size=size, total=1000, lr=1e-3, weight_decay=0.01, seed=3
    )


def sampled_gradients(
    network: AdapterNetwork, step: SampledStep, batches: list[ShakenBatch], number: int
) -> tuple[dict[str, torch.Tensor], float]:
    value = step.learn(number, batches, torch.Generator(), value=True)
    found = {n: w.grad.clone() for n, w in network.named_parameters() if w.grad is not None}
    assert step._gradient is not None
    for name, rows_RK in step._gradient.rows.items():
        whole = torch.zeros_like(dict(network.named_parameters())[name])
        whole[step._gradient.touched.labels] = rows_RK
        found[name] = whole
    network.zero_grad()
    return found, value


@pytest.mark.parametrize("known", [0.1, 0.9])
@pytest.mark.parametrize(("kind", "hidden"), NETWORKS)
def test_all_labels_sampled_are_all_labels(kind: Network, hidden: int, known: float) -> None:
    network, batches = network_of(kind, hidden), batches_of(known)
    expected, value = dense_gradients(network, batches)
    found, estimate = sampled_gradients(network, sampled_step(network, LABELS), batches, 0)
    assert estimate == pytest.approx(value, rel=1e-5)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("kind", "hidden"), NETWORKS)
def test_over_a_cycle_the_mean_gradient_is_that_of_all_labels(kind: Network, hidden: int) -> None:
    # Each label is in one of the steps of a cycle, so that their mean is exact, not only expected.
    network, batches = network_of(kind, hidden), batches_of(0.9)
    expected, value = dense_gradients(network, batches)
    step = sampled_step(network, 5)
    draws = [sampled_gradients(network, step, batches, number) for number in range(LABELS // 5)]
    assert np.mean([draw[1] for draw in draws]) == pytest.approx(value, rel=1e-5)
    assert np.std([draw[1] for draw in draws]) > 0.01 * value
    for name, gradient in expected.items():
        mean = torch.stack([draw[0][name] for draw in draws]).mean(dim=0)
        torch.testing.assert_close(mean, gradient, atol=1e-6, rtol=1e-4)


def test_every_label_is_as_likely_and_steps_need_no_state() -> None:
    sample = LabelSample(11, 4, seed=1)
    drawn = torch.cat([sample.at(step) for step in range(900)])
    assert torch.bincount(drawn, minlength=11).tolist() == [300] * 11
    again = LabelSample(11, 4, seed=1)
    assert torch.equal(again.at(77), sample.at(77))
    assert not torch.equal(LabelSample(11, 4, seed=2).at(77), sample.at(77))


@pytest.mark.parametrize(("decay", "least"), [(0.0, 1e-4), (0.05, 0.04)])
def test_rows_catch_up_to_what_adamw_makes_of_gradients_of_zero(decay: float, least: float) -> None:
    # With 0.05 a row that waits for 100 steps at a rate of 0.01 decays by 5 percent meanwhile.
    total, lr = 300, 1e-2
    lazy, plain = network_of("residual", 0), network_of("residual", 0)
    missed = MissedSteps(total, lr=lr, weight_decay=decay)
    ours = RowAdamW(
        lazy, weight_decay=decay, tables=["linear.weight"], missed=missed, rooms=Rooms()
    )
    theirs = AdamW(plain, weight_decay=decay)
    assert isinstance(lazy, Residual)
    assert isinstance(plain, Residual)
    before = plain.linear.weight.detach().clone()
    random = torch.Generator().manual_seed(0)
    for step in range(total):
        rate, momentum = one_cycle(step, total, lr)
        rows_R = torch.randperm(LABELS, generator=random)[:2]
        gradient = torch.randn(2, DIM, generator=random)
        plain.linear.weight.grad = torch.zeros(LABELS, DIM)
        plain.linear.weight.grad[rows_R] = gradient
        theirs.step(lr=rate, momentum=momentum)
        ours.rows(rows_R, step)
        ours.move_rows(rows_R, {"linear.weight": gradient}, step, lr=rate, momentum=momentum)
    ours.catch_up(total)
    reached = plain.linear.weight.detach()
    moved = float((reached - before).abs().mean())
    apart = float((reached - lazy.linear.weight.detach()).abs().max())
    assert apart < least * moved
    for one, other in (("first", 1e-5), ("second", 1e-5)):
        torch.testing.assert_close(
            getattr(ours.moments["linear.weight"], one),
            getattr(theirs.moments["linear.weight"], one),
            rtol=1e-3,
            atol=other,
        )


@pytest.mark.parametrize("hidden", [0, 8])
def test_a_sampled_run_resumes_bit_for_bit(tmp_path: Path, hidden: int) -> None:
    config = TrainConfig(epochs=4, batch=16, sampled_labels=7, hidden=hidden, shift="none")
    store = text_store(tmp_path / "store", rows=203, labels=40)
    prompts_ND = prompt_vectors(40)
    whole = train(store, ENCODER_ID, config, prompts_ND=prompts_ND)
    with pytest.raises(InterruptedTrainingError):
        train(store, ENCODER_ID, config, prompts_ND=prompts_ND, progress=showing(Bar(20)))
    again = resume(store, "latest")
    assert weights(again) == weights(whole)
    assert again.metrics["loss"] == whole.metrics["loss"]


@pytest.mark.parametrize("loss", ["bce", "partial-bce"])
def test_partial_labels_are_learnt_from_samples_and_resume(tmp_path: Path, loss: Loss) -> None:
    store = text_store(tmp_path / "store", rows=203)
    add_images(store, count=30)
    add_images(store, count=30, first=30, complete=False)
    learn_from: LearnFrom = "images" if loss == "partial-bce" else "both"
    config = TrainConfig(
        task="pll",
        epochs=4,
        batch=16,
        image_batch=8,
        sampled_labels=2,
        loss=loss,
        learn_from=learn_from,
    )
    prompts_ND = prompt_vectors(6)
    whole = train(store, ENCODER_ID, config, prompts_ND=prompts_ND)
    with pytest.raises(InterruptedTrainingError):
        train(store, ENCODER_ID, config, prompts_ND=prompts_ND, progress=showing(Bar(20)))
    again = resume(store, "latest")
    assert weights(again) == weights(whole)
    begun = train(store, ENCODER_ID, replace(config, lr=1e-12), prompts_ND=prompts_ND)
    assert whole.metrics["loss"] < begun.metrics["loss"]


def test_the_more_labels_are_sampled_the_nearer_the_loss_to_that_of_all(tmp_path: Path) -> None:
    store = text_store(tmp_path / "store", rows=400, labels=40, dim=32)
    prompts_ND = prompt_vectors(40, 32)
    vectors_BD, own_cells = torch.from_numpy(10 * prompts_ND), torch.arange(40) * 41
    losses = {}
    for size in (0, 10, 30):
        config = TrainConfig(epochs=20, batch=32, radius="0.5x", shift="none", sampled_labels=size)
        adapter = load_adapter(train(store, ENCODER_ID, config, prompts_ND=prompts_ND).checkpoint)
        assert adapter.card.config.sampled_labels == size
        losses[size] = bce_value(adapter.logits(vectors_BD), own_cells)
    once = TrainConfig(epochs=1, lr=1e-12, shift="none", radius="0.5x")
    begun = load_adapter(train(store, ENCODER_ID, once, prompts_ND=prompts_ND).checkpoint)
    learnt = bce_value(begun.logits(vectors_BD), own_cells) - losses[0]
    assert abs(losses[30] - losses[0]) < 0.2 * learnt
    assert abs(losses[10] - losses[0]) < 0.4 * learnt


def test_auto_takes_all_labels_of_few_and_runs_of_before_took_all() -> None:
    assert TrainConfig().settled_for(1000).sampled_labels == 0
    assert TrainConfig().settled_for(1001).sampled_labels == 80
    assert TrainConfig(sampled_labels=9).settled_for(20).sampled_labels == 9
    few, many, images = (
        TrainConfig.of(task=task, shots=shots).settled_for(labels)
        for task, shots, labels in (("zsl", 0, 1000), ("zsl", 0, 1001), ("fsl", 1, 1001))
    )
    assert [(c.texts_of_a_step, c.top_rate) for c in (few, many, images)] == [
        (128, 1e-3),
        (1024, 2e-3),
        (128, 1e-3),
    ]
    assert TrainConfig(batch=64).settled_for(1001).top_rate == 1e-3
    assert TrainConfig(lr=0.5).settled_for(1001).top_rate == 0.5
    old = {k: v for k, v in TrainConfig().to_json().items() if k != "sampled_labels"}
    assert TrainConfig.from_json(old).sampled_labels == 0
