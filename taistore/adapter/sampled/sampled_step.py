"""A training step that looks at a sample of the labels: draws, gradient, move.

B batch, D embedding dimension, N labels, P positives and Q known negatives of a batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from taistore.adapter.network import AdapterNetwork, Head
from taistore.adapter.optimizer import one_cycle
from taistore.adapter.sampled.label_sample import LabelSample
from taistore.adapter.sampled.rooms import Rooms
from taistore.adapter.sampled.row_adamw import MissedSteps, RowAdamW
from taistore.adapter.sampled.sampled_gradient import SampledGradient, step_cells, touched_labels


class ShakenBatch(NamedTuple):
    """Perturbed vectors [B, D] on the network's device, with their cells.

    Those are as :func:`taistore.adapter.loss.sparse_bce` takes them.
    """

    vectors: torch.Tensor
    positives: torch.Tensor
    negatives: torch.Tensor | None = None
    row_weights: torch.Tensor | None = None


class SampledStep:
    """Steps of a training of ``total`` steps, which look at ``size`` of the ``labels`` and more.

    A step costs the same whatever the number of labels: it looks at the sampled ones and at those
    of its positive cells, and moves these alone.
    """

    def __init__(
        self,
        network: AdapterNetwork,
        *,
        labels: int,
        size: int,
        total: int,
        lr: float,
        weight_decay: float,
        seed: int,
    ) -> None:
        self._network = network
        self._labels = labels
        self._total = total
        self._lr = lr
        self._sample = LabelSample(labels, size, seed=seed)
        self._rooms = Rooms()
        self.optimizer = RowAdamW(
            network,
            weight_decay=weight_decay,
            tables=network.learnt_tables(),
            missed=MissedSteps(total, lr=lr, weight_decay=weight_decay),
            rooms=self._rooms,
        )
        self._gradient: SampledGradient | None = None

    def learn(
        self,
        step: int,
        batches: Sequence[ShakenBatch],
        generator: torch.Generator,
        *,
        value: bool,
    ) -> float:
        """Compute the gradients; the sum of the batches' losses, estimated from the same cells.

        The ``generator`` draws dropout; without ``value`` the losses are taken as 0.
        """
        device = batches[0].vectors.device
        sampled_S = self._sample.at(step).to(device, non_blocking=True)
        cells = [
            step_cells(
                batch.positives,
                batch.negatives,
                batch.row_weights,
                sampled_S,
                rows=len(batch.vectors),
                labels=self._labels,
            )
            for batch in batches
        ]
        touched = touched_labels(cells, sampled_S, labels=self._labels)
        tables = self.optimizer.rows(touched.labels, step)
        gradient = self._gradient = SampledGradient(touched, tables, self._rooms)
        loss = 0.0
        for batch, own in zip(batches, cells, strict=True):
            heads = self._network.heads(batch.vectors, generator)
            self._fetch(heads, touched.labels, tables)
            loss += gradient.add(heads, own, batch.row_weights, value=value)
        return loss

    def move(self, step: int) -> None:
        """Move what :meth:`learn` looked at, on the 1-cycle."""
        assert self._gradient is not None, "learn comes first"
        lr, momentum = one_cycle(step, self._total, self._lr)
        touched, rows = self._gradient.touched, self._gradient.rows
        self.optimizer.step(lr=lr, momentum=momentum)
        self.optimizer.move_rows(touched.labels, rows, step, lr=lr, momentum=momentum)

    def _fetch(
        self, heads: Sequence[Head], labels_R: torch.Tensor, tables: dict[str, torch.Tensor]
    ) -> None:
        """Add the rows of tables that are not learnt."""
        for head in heads:
            if head.table not in tables:
                table_NK = self._network.get_buffer(head.table)
                room = self._rooms.take(head.table, table_NK, len(labels_R))
                tables[head.table] = torch.index_select(table_NK, 0, labels_R, out=room)
