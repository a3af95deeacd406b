"""What does one training step cost, and what do its parts save?

``python -m benchmarks.train_step`` times steps of both networks at 80 and 7,186 labels, with the
gradient-only sparse loss against a dense target, and fused AdamW against a loop. The variants run
in turn, and their CPU times are compared as ratios, which a busy machine disturbs least.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.report import Table, write_report
from taistore.adapter.loss import sparse_bce
from taistore.adapter.network import Network, NetworkShape, build_network
from taistore.geometry.perturbation import perturb

Step = Callable[[], None]
DIM = 1024


def make_step(
    *,
    labels: int,
    batch: int,
    network: Network = "residual",
    hidden: int = 0,
    loss: str = "sparse",
    fused: bool = True,
    radius: float = 25.0,
) -> Step:
    """One training step on random vectors [B, D]; ``loss`` is sparse or dense."""
    shape = NetworkShape(network=network, dim=DIM, labels=labels, hidden=hidden, dropout=0.5)
    model = build_network(shape).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, fused=fused, foreach=None if fused else False
    )
    generator = torch.Generator().manual_seed(0)
    vectors_BD = torch.randn(batch, DIM, generator=generator) / 3
    random = np.random.default_rng(0)
    label_ids = random.integers(labels, size=(batch, 2))
    label_ids[:, 1] = (label_ids[:, 0] + 1) % labels
    positives_P = torch.from_numpy((np.arange(batch)[:, None] * labels + label_ids).reshape(-1))

    def step() -> None:
        noisy_BD = perturb(vectors_BD, radius, generator=generator)
        logits_BN = model(noisy_BD, generator)
        optimizer.zero_grad()
        if loss == "sparse":
            result = sparse_bce(logits_BN, positives_P)
        else:
            target_BN = torch.zeros(batch, labels)
            target_BN.view(-1)[positives_P] = 1
            result = F.binary_cross_entropy_with_logits(logits_BN, target_BN)
        torch.autograd.backward(result)
        optimizer.step()

    return step


def cpu_ms(steps: dict[str, Step], *, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each step, the variants run in turn."""
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.process_time()
            step()
            taken[name].append(1000 * (time.process_time() - began))
    return {name: float(np.median(values)) for name, values in taken.items()}


def main() -> None:
    """Time the variants and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for labels, batch in ((80, 128), (80, 1024), (7186, 128), (7186, 1024)):
        make = partial(make_step, labels=labels, batch=batch)
        steps = {
            "default": make(),
            "dense loss": make(loss="dense"),
            "AdamW as a loop": make(fused=False),
            "no perturbation": make(radius=0),
            "residual, hidden 384": make(hidden=384),
            "paper, hidden 1,024": make(network="paper", hidden=1024),
        }
        found = cpu_ms(steps, rounds=options.rounds)
        for name, value in found.items():
            rows.append((labels, batch, name, value, value / found["default"]))
            print(*rows[-1], flush=True)
    columns = ("labels", "batch", "step", "CPU ms", "times the default step")
    text = (
        f"Vectors of {DIM} dimensions, one thread, float32; median of {options.rounds} rounds in "
        "which the variants take turns."
    )
    title = "Cost of a training step"
    print(write_report("train-step", title=title, tables=[Table(columns, rows)], text=text))


if __name__ == "__main__":
    main()
