"""The 1-cycle as a function of the step, against torch's scheduler."""

import pytest
import torch

from taistore.adapter.one_cycle import one_cycle


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
