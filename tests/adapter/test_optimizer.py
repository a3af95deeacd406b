"""The optimizer and the 1-cycle as a function of the step, against torch's own."""

import pytest
import torch

from taistore.adapter.network import NetworkShape, build_network
from taistore.adapter.optimizer import AdamW, one_cycle


@pytest.mark.parametrize("total", [1, 2, 3, 4, 10, 57, 400])
def test_equals_torch(total: int) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=total)
    for step in range(total):
        group = optimizer.param_groups[0]
        lr, momentum = one_cycle(step, total, 1e-3)
        assert lr == pytest.approx(group["lr"], rel=1e-6)
        assert momentum == pytest.approx(group["betas"][0], rel=1e-6)
        optimizer.step()
        if step + 1 < total:
            scheduler.step()


def test_steps_are_those_of_torch_bit_by_bit() -> None:
    shape = NetworkShape(network="residual", dim=24, labels=5, hidden=9, dropout=0.0)
    ours, theirs = build_network(shape).train(), build_network(shape).train()
    optimizer = AdamW(ours, weight_decay=0.03)
    reference = torch.optim.AdamW(theirs.parameters(), weight_decay=0.03, fused=True)
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        vectors_BD = torch.randn(16, 24, generator=generator)
        lr, momentum = one_cycle(step, 12, 1e-2)
        for group in reference.param_groups:
            group["lr"], group["betas"] = lr, (momentum, 0.999)
        for network in (ours, theirs):
            network.zero_grad()
            torch.autograd.backward((network(vectors_BD) - 1).square().mean())
        optimizer.step(lr=lr, momentum=momentum)
        reference.step()
        for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other), f"{name} at step {step}"
            assert torch.equal(optimizer.moments[name].second, reference.state[other]["exp_avg_sq"])
    assert any(moments.second.any() for moments in optimizer.moments.values())


def test_a_weight_without_a_gradient_stays() -> None:
    network = torch.nn.Linear(3, 2)
    before = network.weight.detach().clone()
    optimizer = AdamW(network, weight_decay=0.5)
    network.bias.grad = torch.ones(2)
    optimizer.step(lr=0.1, momentum=0.9)
    assert torch.equal(network.weight, before)
    assert set(optimizer.moments) == {"bias"}
    optimizer.zero_grad()
    assert network.bias.grad is None
